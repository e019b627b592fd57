"""What forecasts are good for: how many of the bytes they read are used, and what a token takes with and without them.

    python -m benchmarks.forecast             (make bench; 7 GB of disk, 8 GiB of memory, some five minutes)

Of a model in the shape of OLMoE-1B-7B (4 layers, random weights) and of the demo model, whose routers were trained.
Both run side by side with 40 % of their experts' memory, and are asked in turn for the same texts, so that only the
ratio of their times is read. Beside it stands what the planner does. Merges `forecast_precision` (bytes used before
eviction over bytes read, the lower of the models), `forecast_tpot` (TPOT with over TPOT without) and `forecast_planned`
(layers ahead) into results/scheduler.json. Run it with nothing else on the machine.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.system.prompts import prompts
from tests.system.stack import Stack
from tokenizers import Tokenizer

from benchmarks.prediction import LIKE, RESULT, ROOT, made
from zipmoe.cli.planning import planned
from zipmoe.client import Client
from zipmoe.expert_store.size import arena_header
from zipmoe.pack.reader import Pack
from zipmoe.plan.lookahead import lookahead
from zipmoe.profile.profile import profile

SIZE, DEPTH, ROUNDS, TOKENS = "40%", 2, 6, 48
LENGTHS: Final = (16, 40, 100)

Text = list[int]
Answer = list[tuple[float, list[int]]]  # of each text: TPOT in seconds, what was written


@dataclass(frozen=True, slots=True)
class Worth:
    """Of one model: bytes used over bytes read, TPOT with over without, layers ahead that the planner has."""

    precision: float
    tpot: float
    planned: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / ".run" / "bench", help="folder of the model made")
    parser.add_argument("--demo", type=Path, default=ROOT / ".run" / "demo.zipmoe", help="the demo model, packed")
    options = parser.parse_args()
    chance = random.Random(0)
    random_texts = [[chance.randrange(50_000) for _ in range(length)] for length in LENGTHS]
    tokenizer = Tokenizer.from_file(str(ROOT / "models" / "demo" / "tokenizer.json"))
    demo_texts = [prompt.tolist() for prompt in prompts(tokenizer, LENGTHS, seed=11)]
    models = {LIKE: (made(options.work, "pack3"), random_texts), "demo": (options.demo, demo_texts)}
    print(f"{'model':12}  used of what was read  TPOT with over without  planned")
    found = dict[str, Worth]()
    for name, (packed, texts) in models.items():
        found[name] = worth = asyncio.run(measure(packed, texts))
        print(f"{name:12}  {worth.precision:21.0%}  {worth.tpot:22.3f}  {worth.planned or 'off':>7}", flush=True)
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    figures = {
        "forecast_precision": round(min(worth.precision for worth in found.values()), 3),
        "forecast_tpot": {name: round(worth.tpot, 3) for name, worth in found.items()},
        "forecast_planned": {name: worth.planned for name, worth in found.items()},
    }
    RESULT.write_text(json.dumps(known | figures, indent=2) + "\n")


async def measure(packed: Path, texts: Sequence[Text]) -> Worth:
    with ExitStack() as held:
        without, with_ = (held.enter_context(Stack(packed, SIZE, forecast=depth)).start() for depth in (0, DEPTH))
        for stack in (without, with_):
            await answer(stack, texts)
        before, ratios = await with_.status(), list[float]()
        for turn in range(ROUNDS):
            first, second = (without, with_) if turn % 2 else (with_, without)
            answers = {stack: await answer(stack, texts) for stack in (first, second)}
            assert [text for _, text in answers[with_]] == [text for _, text in answers[without]], "texts differ"
            ratios.append(sum(tpot for tpot, _ in answers[with_]) / sum(tpot for tpot, _ in answers[without]))
        after = await with_.status()
    read = after.forecast_bytes_read - before.forecast_bytes_read
    return Worth(
        (after.forecast_bytes_used - before.forecast_bytes_used) / read, statistics.median(ratios), plan(packed)
    )


async def answer(stack: Stack, texts: Sequence[Text]) -> Answer:
    found: Answer = []
    async with Client(stack.places.inference) as client:
        await client.until_reachable(60)
        for text in texts:
            # Sampled with a seed, because random weights repeat themselves when they are greedy.
            pieces = [piece async for piece in client.generate(text, max_tokens=TOKENS, temperature=1.0, seed=7)]
            usage = pieces[-1].usage
            assert usage is not None
            written = [token for piece in pieces for token in piece.tokens]
            found.append((usage.time_per_output_token.total_seconds(), written))
    return found


def plan(packed: Path) -> int:
    """Layers ahead that `zipmoe up` would forecast."""
    rates, cores = profile(packed).rates, os.cpu_count() or 1
    with Pack.open(packed) as pack:
        header = arena_header(pack, SIZE, "auto")
        found = planned(pack, rates, cores, cores, header.size - header.slots_offset, "auto")
    return lookahead(found.found, found.model, found.device)


if __name__ == "__main__":
    main()
