"""A hit costs no call, and the processes that are not inference stay small."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.stack import Stack, resident_megabytes
from zipmoe.client import Client, Usage
from zipmoe.v1 import scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import connect

MOST_MEGABYTES = 80


@pytest.fixture(scope="module")
def stack(demo_pack: Path) -> Iterator[Stack]:
    with Stack(demo_pack, arena_size="100%") as stack:
        yield stack.start()


async def usage(stack: Stack, prompt: str, max_tokens: int) -> Usage:
    async with Client(stack.places.inference) as client:
        pieces = [piece async for piece in client.generate(prompt, max_tokens=max_tokens)]
    last = pieces[-1].usage
    assert last is not None
    return last


async def test_no_calls_when_all_is_resident(stack: Stack) -> None:
    prompt = "class Queue:\n    def get(self, block=True, timeout=None):\n"
    first = await usage(stack, prompt, 64)
    assert first.expert_misses > 0
    assert first.acquire_calls > 0
    again = await usage(stack, prompt, 64)
    assert again.expert_uses == first.expert_uses > 0
    assert again.expert_misses == 0
    assert again.acquire_calls == 0


async def test_every_use_is_counted_where_the_scheduler_looks(stack: Stack) -> None:
    async def counted() -> int:
        async with connect(stack.places.scheduler) as channel:
            scheduler = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            return int((await scheduler.GetCacheStatus(scheduler_pb2.GetCacheStatusRequest())).uses)

    before = await counted()
    used = await usage(stack, "def parse_args(", 16)
    assert await counted() - before == used.expert_uses > 0


async def test_services_are_small(stack: Stack) -> None:
    await usage(stack, "import os\n", 16)
    sizes = {name: resident_megabytes(stack.processes[name].pid) for name in ("expert_store", "scheduler")}
    sizes |= {f"worker {index}": resident_megabytes(pid) for index, pid in enumerate(stack.workers())}
    print("\nresident, without the arena: " + ", ".join(f"{name} {size:.0f} MiB" for name, size in sizes.items()))
    assert len(sizes) == 4
    assert all(size < MOST_MEGABYTES for size in sizes.values())
