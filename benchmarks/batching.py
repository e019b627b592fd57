"""Batching: tokens per second of 1, 4 and 16 requests at once, beside what the batch's experts permit.

    python -m benchmarks.batching           (make bench; 24 GB of disk, 14 GiB of memory, some twenty minutes)

The shape of OLMoE-1B-7B, all its layers, random weights whose routing has the published statistics, served by the real
services, as planned, at 40 % of the experts in BF16 and with all of them resident. Requests of random prompts write
until all have written enough; measured is the middle, while all of them run. What a step permits: the bytes that were
read for it, at the rate of the disk, or the bytes that it multiplies with, each expert that any of its tokens wants
once and the dense weights, at the rate at which memory is read, whichever takes longer. Prints a table and writes
results/batching.json: tokens per second, and the share of what is permitted. Run it with nothing else on the machine.
"""

import argparse
import asyncio
import json
import os
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from tests.system.stack import Stack

from benchmarks.prediction import LIKE, made
from benchmarks.rates import memory_rate
from zipmoe.cli.planning import dense_bytes, dense_weights, planned
from zipmoe.client import Client
from zipmoe.expert_store.size import arena_header
from zipmoe.pack.reader import Pack
from zipmoe.plan.lookahead import lookahead
from zipmoe.profile.profile import profile
from zipmoe.synth.preset import preset
from zipmoe.v1 import inference_pb2, inference_pb2_grpc
from zipmoe.wire.channel import connect

# Only the type stubs tell it from the blocking one, hence the quotes.
Stub: TypeAlias = "inference_pb2_grpc.InferenceServiceAsyncStub"

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "batching.json"
BATCHES: Final = (1, 4, 16)
BUDGETS: Final = ("40%", "100%")
PROMPT, WRITTEN, ROUNDS = 16, 96, 3
# Each look is a call, and takes a core from those that multiply.
POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens per second, and what the bytes of their steps permit."""

    measured: float
    disk: float
    memory: float

    @property
    def permitted(self) -> float:
        return min(self.disk, self.memory)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batching", description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / ".run" / "bench", help="folder of the model made")
    layers = int(preset(LIKE).config["num_hidden_layers"])
    parser.add_argument("--layers", type=int, default=layers, help="of the model; fewer are not recorded [%(default)s]")
    options = parser.parse_args()
    packed = made(options.work, "pack3", options.layers)
    found: dict[str, dict[str, dict[str, float]]] = {}
    print("memory  batch  tokens/s  permitted: by disk, by memory  share")
    for budget in BUDGETS:
        rates = asyncio.run(measure(packed, budget))
        for batch, rate in rates.items():
            share = rate.measured / rate.permitted
            print(f"{budget:>6}  {batch:5}  {rate.measured:8.2f}  {rate.disk:18.1f}, {rate.memory:9.1f}  {share:5.0%}")
            found.setdefault(budget.rstrip("%"), {})[str(batch)] = {
                "tokens_per_second": round(rate.measured, 2),
                "share_of_permitted": round(share, 3),
            }
    report = {"command": "python -m benchmarks.batching", "date": str(date.today()), "layers": layers, "rates": found}
    if options.layers == layers:
        RESULT.write_text(json.dumps(report, indent=2) + "\n")


async def measure(packed: Path, budget: str) -> dict[int, Rate]:
    with Pack.open(packed) as pack:
        header, cores = arena_header(pack, budget, "pack3"), os.cpu_count() or 1
        rates = profile(packed).rates
        plan = planned(pack, rates, cores, cores, header.size - header.slots_offset, "pack3")
        pools, forecast = plan.found.pools, lookahead(plan.found, plan.model, plan.device)
        # Of the embedding a token has a row.
        all_dense = sum(tensor.blob.weights for tensor in pack.dense.values())
        dense, expert = int(dense_bytes(pack) * dense_weights(pack) / all_dense), header.slot_bytes
    disk = max(rates.disk.values())
    found = dict[int, list[Rate]]()
    with Stack(packed, budget, resident="pack3", pools=",".join(map(str, pools.slots)), forecast=forecast) as stack:
        stack.start()
        for _ in range(ROUNDS):
            for batch in BATCHES:
                each = await one(stack, batch, expert, dense, disk)
                found.setdefault(batch, []).append(each)
    return {batch: sorted(each, key=lambda rate: rate.measured)[ROUNDS // 2] for batch, each in found.items()}


async def one(stack: Stack, batch: int, expert: int, dense: int, disk: float) -> Rate:
    """Of a batch of requests that all run. Memory is measured before and after them: what a virtual machine has of its
    host's changes by the minute."""
    before = memory_rate()
    chance = np.random.default_rng(batch)
    prompts = [chance.integers(0, 50_000, PROMPT).tolist() for _ in range(batch)]
    async with Client(stack.places.inference) as client, connect(stack.places.inference) as channel:
        await client.until_reachable(120)
        stub: Stub = inference_pb2_grpc.InferenceServiceStub(channel)
        running = [asyncio.create_task(_write(client, prompt)) for prompt in prompts]
        first = await _look(stack, stub, batch * (PROMPT + WRITTEN // 4))
        last = await _look(stack, stub, batch * WRITTEN // 2)
        await asyncio.gather(*running)
    reading = (before + memory_rate()) / 2
    seconds, tokens, steps, uses, read = (there - here for here, there in zip(first, last, strict=True))
    to_multiply = uses * expert + steps * dense
    return Rate(tokens / seconds, tokens * disk / read if read else float("inf"), tokens * reading / to_multiply)


async def _write(client: Client, prompt: list[int]) -> None:
    async for _ in client.generate(prompt, max_tokens=WRITTEN):
        pass


async def _look(stack: Stack, stub: Stub, more: int) -> tuple[float, ...]:
    """When so many tokens more have gone through: the time, tokens, steps, uses of experts, bytes read."""
    request = inference_pb2.GetLoadRequest()
    start = (await stub.GetLoad(request)).tokens
    while (now := await stub.GetLoad(request)).tokens < start + more:  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)
    cache = await stack.status()
    return time.perf_counter(), now.tokens, now.steps, cache.uses, cache.bytes_read


if __name__ == "__main__":
    main()
