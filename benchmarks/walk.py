"""What a hit costs: decoding over leased experts against the same experts held for good.

    python -m benchmarks.walk            (make bench)

Prints and writes benchmarks/results/walk.json: medians over rounds that alternate between the two, so that only their
ratio is read. Run it with nothing else on the machine.
"""

import asyncio
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from tests.system.local_model import LocalModel, local_model, on_thread
from tests.system.stack import Stack

from zipmoe.arena.leases import Leases
from zipmoe.arena.use_counter import UseCounter
from zipmoe.inference.experts import Experts, Found
from zipmoe.inference.model.arithmetic import Integers
from zipmoe.inference.model.weight import ExpertWeights, PackedExpert
from zipmoe.pack.writer import pack

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "walk.json"
PROMPT = torch.arange(1, 33)
TOKENS, ROUNDS, LOCKS = 64, 9, 20_000


class Held(Experts):
    """The same experts where they lie, for good: no look-up in the directory, no lease, no count."""

    def __init__(self, weights: Mapping[int, ExpertWeights], experts: int, use: UseCounter) -> None:
        self.use = use
        self._weights = weights
        self._experts = experts

    @contextmanager
    def whole(self, layer: int, chosen: Integers) -> Iterator[Sequence[PackedExpert] | None]:
        del chosen
        weights = [self._weights[layer * self._experts + expert] for expert in range(self._experts)]
        packed = [each for each in weights if isinstance(each, PackedExpert)]
        yield packed if len(packed) == len(weights) else None

    def count(self) -> None:
        pass

    def walk(self, layer: int, needed: Mapping[int, float], decoded: Collection[int]) -> Iterator[list[Found]]:
        del decoded
        yield [(expert, self._weights[layer * self._experts + expert]) for expert in needed]


def held(local: LocalModel) -> Held:
    header = local.experts.header
    weights: dict[int, ExpertWeights] = {}
    for layer in range(header.layers):
        for found in local.experts.walk(layer, dict.fromkeys(range(header.experts), 1.0), ()):
            weights.update((layer * header.experts + expert, its_weights) for expert, its_weights in found)
    return Held(weights, header.experts, local.experts.use)


def decode_seconds(local: LocalModel, experts: Experts) -> float:
    """Seconds for TOKENS greedy tokens after PROMPT."""
    of, text = replace(local, experts=experts), local.text(len(PROMPT) + TOKENS)
    token = int(of.prefill(PROMPT, text)[-1].argmax())
    started = time.perf_counter()
    for _ in range(TOKENS - 1):
        token = int(of.decode(token, text).argmax())
    return time.perf_counter() - started


def lease_microseconds(arena: Path) -> float:
    leases = Leases(arena)
    started = time.perf_counter()
    for _ in range(LOCKS):
        leases.lease(0)
        leases.release(0)
    return (time.perf_counter() - started) / LOCKS * 1e6


def compare(local: LocalModel) -> dict[str, float]:
    plain = held(local)
    pairs = [(decode_seconds(local, local.experts), decode_seconds(local, plain)) for _ in range(ROUNDS + 1)]
    # The first round warms up.
    walk, memory = zip(*pairs[1:], strict=True)
    ratios = [ours / theirs for ours, theirs in zip(walk, memory, strict=True)]
    return {
        "walk_over_held": round(statistics.median(ratios), 3),
        "token_milliseconds": round(statistics.median(walk) / (TOKENS - 1) * 1e3, 2),
    }


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "demo.zipmoe"
        pack(ROOT / "models" / "demo", packed)
        with Stack(packed, arena_size="100%") as stack:
            stack.start("expert_store", "scheduler")
            async with local_model(stack, "fast") as local:
                result = await on_thread(compare, local)
                result["lease_microseconds"] = round(lease_microseconds(stack.places.arena), 2)
    report = result | {"date": str(date.today()), "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
