"""A hit costs no call, and the processes that are not inference stay small."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.system.local_model import local_model, on_thread
from tests.system.stack import Stack, resident_megabytes
from zipmoe.client import Client, Usage
from zipmoe.inference.scheduler_client import SchedulerClient

Counts: TypeAlias = Mapping[int, int]

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
    before = (await stack.status()).uses
    used = await usage(stack, "def parse_args(", 16)
    assert (await stack.status()).uses - before == used.expert_uses > 0


async def test_services_are_small(stack: Stack) -> None:
    await usage(stack, "import os\n", 16)
    sizes = {name: resident_megabytes(stack.processes[name].pid) for name in ("expert_store", "scheduler")}
    sizes |= {f"worker {index}": resident_megabytes(pid) for index, pid in enumerate(stack.workers())}
    print("\nresident, without the arena: " + ", ".join(f"{name} {size:.0f} MiB" for name, size in sizes.items()))
    assert len(sizes) == 4
    assert all(size < MOST_MEGABYTES for size in sizes.values())


async def test_a_call_says_what_its_walk_has_found(demo_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And how often that had been used, so that the scheduler can tell what it need not keep any more."""
    calls, acquire = list[tuple[set[int], dict[int, int]]](), SchedulerClient.acquire

    def heard(
        client: SchedulerClient, epoch: int, experts: int, numbers: Collection[int], prefill: bool, found: Counts
    ) -> AsyncIterator[tuple[int, int]]:
        calls.append((set(numbers), dict(found)))
        return acquire(client, epoch, experts, numbers, prefill, found)

    monkeypatch.setattr(SchedulerClient, "acquire", heard)
    seen = list[Counts]()
    with Stack(demo_pack, arena_size="30%") as stack:
        stack.start("expert_store", "scheduler")
        async with local_model(stack, "fast") as local:
            experts, each = local.experts, local.experts.header.experts
            for layer in 2 * [*range(experts.header.layers)]:
                wanted = range(layer * each, (layer + 1) * each, 2)
                counts = {number: experts.use.read(number).uses for number in wanted}
                needed = {number % each: 1.0 for number in wanted}
                calls.clear()
                await on_thread(lambda walk: [len(some) for some in walk], experts.walk(layer, needed, needed))
                if calls:
                    missing, found = calls[0]
                    assert missing.isdisjoint(found)
                    assert missing.union(found) == set(wanted)
                    assert found.items() <= counts.items()
                    seen.append(found)
    assert any(seen)
