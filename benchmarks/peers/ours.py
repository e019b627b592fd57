"""Ours as a contestant, at one step of the ablation: the real store and scheduler as processes, and in this process the
inference service's engine, which is given its tokens.

    python -m benchmarks.peers.ours PACK STEP MEMORY RUN VOCABULARY PHASES...       (MEMORY in bytes, or 0: no limit)

Memory is divided as `zipmoe up` would divide it, by what the step has of the planner.
"""

import asyncio
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tests.system.stack import Stack

from benchmarks.peers.ablation import STEPS, Step
from benchmarks.peers.contest import contest
from benchmarks.peers.extent import KV_TOKENS
from zipmoe.cli.allotment import allot
from zipmoe.cli.memory import available
from zipmoe.cli.planning import dense_bytes
from zipmoe.cli.start import Wish, start
from zipmoe.pack.blob import slot_bytes
from zipmoe.pack.reader import Pack

WORKERS = THREADS = 2
# Experts that inference leases together; its own constant cannot be had without torch, which counts as this process's.
TOGETHER = 8


@dataclass(frozen=True, slots=True)
class Setting:
    """Of the services. `pools` are slots of each part, as planned, or empty."""

    size: str
    form: str
    pools: str
    forecast: int


def setting(step: Step, packed: Path, memory: int) -> Setting:
    """What fits into so many bytes."""
    with Pack.open(packed) as pack:
        asked = str(memory - (0 if step.packed else unpacked_bytes(pack)))
        if not step.planned:
            allotment = allot(pack, asked, step.form, WORKERS, KV_TOKENS)
            return Setting(str(allotment.arena), step.form, "", 0)
    wish = Wish(packed, asked, workers=WORKERS, threads=THREADS, kv_tokens=KV_TOKENS)
    found = start(wish, Console(stderr=True))
    pools = ",".join(map(str, found.pools))
    return Setting(str(found.size), found.form, pools, found.forecast if step.forecast else 0)


def unpacked_bytes(pack: Pack) -> int:
    """That it takes more to multiply with BF16 alone: dense weights, and a few experts that are being unpacked."""
    dense = sum(slot_bytes(tensor.blob.weights) for tensor in pack.dense.values())
    return dense - dense_bytes(pack) + TOGETHER * slot_bytes(pack.geometry.weights)


def main() -> None:
    packed, step, memory, run, vocabulary, *phases = sys.argv[1:]
    memory_bytes = int(memory) or available()
    asyncio.run(serve(Path(packed), STEPS[step], memory_bytes, Path(run), int(vocabulary), phases))


async def serve(packed: Path, step: Step, memory: int, run: Path, vocabulary: int, phases: Sequence[str]) -> None:
    found = setting(step, packed, memory)
    scheduler = ("--policy", step.policy, "--order", step.order)
    with Stack(packed, found.size, resident=found.form, pools=found.pools, scheduler=scheduler, run=run) as stack:
        # It sets what torch reads when it is imported.
        importlib.import_module("zipmoe.inference.heap").keep_little()
        from benchmarks.peers.forced import forced

        async with forced(stack, found.forecast, THREADS, 0 if step.packed else TOGETHER) as writer:
            writer.about = f"{step}, {found}"
            await asyncio.to_thread(contest, writer, vocabulary, phases)


if __name__ == "__main__":
    main()
