"""An expert that two workers bring in: it is there when both its planes are, and is dropped whole or not at all."""

import asyncio

import pytest

from tests.expert_store.bench import Bench
from zipmoe.expert_store import shares
from zipmoe.expert_store.store import Store
from zipmoe.expert_store.task import Outcome, Result, Urgency


@pytest.fixture(autouse=True)
def _always_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "WORTH_SHARING_BYTES", 1)


async def loading(store: Store, bench: Bench) -> "asyncio.Future[Outcome]":
    """Expert 1 of layer 0, queued for slot 1."""
    queued = asyncio.ensure_future(store.load(0, 1, bench.slots(1), Urgency.FORECAST))
    while (0, 1) not in store._loads:
        await asyncio.sleep(0)
    return queued


def held(bench: Bench) -> list[bytes]:
    """What lies in slot 1, be it an expert or not."""
    return [bench.memory(slot).tobytes() for slot in bench.slots(1).values()]


@pytest.mark.parametrize("workers", [1, 2])
async def test_its_planes_make_its_words(packed_bench: Bench, workers: int) -> None:
    async with packed_bench.pool(workers) as pool:
        store = Store(packed_bench.pack, packed_bench.arena, pool)
        outcome = await store.load(1, 2, packed_bench.slots(3), Urgency.DEMAND)
        blob = packed_bench.pack.expert(1, 2)
        assert (outcome.result, outcome.bytes_read) == (Result.LOADED, blob.end - blob.offset)
        assert packed_bench.slot(3) == packed_bench.original(6)
        assert store.statistics().experts_loaded == 1
        assert not store._loads


async def test_what_has_not_begun_is_dropped_whole(packed_bench: Bench) -> None:
    bench = packed_bench
    async with bench.pool() as pool:
        store, before = Store(bench.pack, bench.arena, pool), held(bench)
        with bench.stopped():
            await bench.started(await bench.submit(pool, 0, 0))
            queued = await loading(store, bench)
            assert store.cancel([(0, 1)]) == [(0, 1)]
            assert (await queued).result is Result.DROPPED
        await pool.drain()
        assert held(bench) == before


async def test_what_has_begun_with_one_plane_is_brought_in_whole(packed_bench: Bench) -> None:
    bench = packed_bench
    async with bench.pool() as pool:
        store = Store(bench.pack, bench.arena, pool)
        with bench.stopped():
            queued = await loading(store, bench)
            first, second = store._loads[0, 1]
            await bench.started(first)
            assert not second.begun
            assert store.cancel([(0, 1)]) == []
        assert (await queued).result is Result.LOADED
        assert bench.slot(1) == bench.original(1)


async def test_a_worker_that_dies_over_one_plane_fails_the_expert(packed_bench: Bench) -> None:
    bench = packed_bench
    async with bench.pool() as pool:
        store = Store(bench.pack, bench.arena, pool)
        with bench.stopped():
            queued = await loading(store, bench)
            await bench.started(store._loads[0, 1][0])
            bench.workers()[0].kill()
        assert (await queued).result is Result.LOST
        assert store.statistics().experts_loaded == 0
        assert (await store.load(0, 1, bench.slots(1), Urgency.DEMAND)).result is Result.LOADED
        assert bench.slot(1) == bench.original(1)
