"""Store: writes into slots of this arena alone, and a load that nobody waits for does not start."""

import asyncio

import pytest

from tests.expert_store.bench import Bench
from zipmoe.arena import layout
from zipmoe.arena.layout import PAGE, Part, Slot
from zipmoe.arena.leases import WORKERS, Leases
from zipmoe.errors import InvalidRequest, ServiceRestarting, StaleEpoch, UnknownExpert
from zipmoe.expert_store import store as module
from zipmoe.expert_store.store import Store, until_writers_are_gone
from zipmoe.expert_store.task import Result, Urgency


async def test_an_expert_is_loaded_and_counted(bench: Bench) -> None:
    async with bench.pool() as pool:
        store = Store(bench.pack, bench.arena, pool)
        outcome = await store.load(1, 2, bench.slots(3), Urgency.DEMAND)
        assert outcome.result is Result.LOADED
        assert bench.slot(3) == bench.original(6)
        statistics = store.statistics()
        assert (statistics.experts_loaded, statistics.bytes_read) == (1, outcome.bytes_read)


@pytest.mark.parametrize(("layer", "expert"), [(2, 0), (0, 4)])
async def test_an_expert_that_the_model_has_not_is_named(bench: Bench, layer: int, expert: int) -> None:
    async with bench.pool() as pool:
        store = Store(bench.pack, bench.arena, pool)
        with pytest.raises(UnknownExpert, match=f"no expert {expert} in layer {layer}: the model has 2 layers of 4"):
            await store.load(layer, expert, bench.slots(0), Urgency.DEMAND)


@pytest.mark.parametrize(
    ("slot", "shift", "longer"),
    [(0, -PAGE, 0), (7, PAGE, 0), (8, 0, 0), (0, 1, 0), (0, 0, -PAGE), (7, 0, PAGE), (-99, 0, 0)],
)
async def test_bytes_that_are_no_slot_are_refused(bench: Bench, slot: int, shift: int, longer: int) -> None:
    async with bench.pool() as pool:
        store, right = Store(bench.pack, bench.arena, pool), layout.whole(bench.arena.header)[Part.WORDS].slot(slot)
        wrong = Slot(right.offset + shift, right.length + longer)
        with pytest.raises(InvalidRequest, match=f"no slot for words: {wrong.length} bytes at {wrong.offset}; they"):
            await store.load(0, 0, {Part.WORDS: wrong}, Urgency.DEMAND)


async def test_a_load_whose_caller_leaves_does_not_start(bench: Bench) -> None:
    async with bench.pool() as pool:
        store = Store(bench.pack, bench.arena, pool)
        before = bench.slot(1)
        with bench.stopped():
            await bench.started(await bench.submit(pool, 0, 0))
            caller = asyncio.ensure_future(store.load(0, 1, bench.slots(1), Urgency.DEMAND))
            while (0, 1) not in store._loads:
                await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait([caller])
        assert (await store.load(0, 2, bench.slots(2), Urgency.DEMAND)).result is Result.LOADED
        assert bench.slot(1) == before


async def test_cancelling_names_what_was_dropped(bench: Bench) -> None:
    async with bench.pool() as pool:
        store = Store(bench.pack, bench.arena, pool)
        with bench.stopped():
            await bench.started(await bench.submit(pool, 0, 0))
            queued = asyncio.ensure_future(store.load(0, 1, bench.slots(1), Urgency.FORECAST))
            while (0, 1) not in store._loads:
                await asyncio.sleep(0)
            assert store.cancel([(1, 3), (0, 1)]) == [(0, 1)]
            assert (await queued).result is Result.DROPPED
            assert store.cancel([(0, 1)]) == []


async def test_hastening_names_what_had_not_started(bench: Bench) -> None:
    async with bench.pool() as pool:
        store = Store(bench.pack, bench.arena, pool)
        with bench.stopped():
            await bench.started(await bench.submit(pool, 0, 0))
            queued = [
                asyncio.ensure_future(store.load(0, number, bench.slots(number), urgency))
                for number, urgency in ((1, Urgency.DEMAND), (2, Urgency.FORECAST))
            ]
            while (0, 2) not in store._loads:
                await asyncio.sleep(0)
            assert store.hasten([(1, 3), (0, 2)]) == [(0, 2)]
        for load in queued:
            assert (await load).result is Result.LOADED
        assert store.hasten([(0, 2)]) == []


async def test_a_caller_of_another_epoch_is_refused(bench: Bench) -> None:
    async with bench.pool() as pool:
        store = Store(bench.pack, bench.arena, pool)
        store.check_epoch(bench.arena.header.epoch)
        with pytest.raises(StaleEpoch):
            store.check_epoch(bench.arena.header.epoch - 1)


async def test_a_new_store_waits_for_the_writers_of_the_old_one(bench: Bench) -> None:
    worker, mine = Leases(bench.arena.path), Leases(bench.arena.path)
    assert worker.claim(WORKERS + 3)
    waiting = asyncio.ensure_future(until_writers_are_gone(mine))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    worker.close()
    await asyncio.wait_for(waiting, 10)
    mine.close()


async def test_writers_that_stay_are_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WRITERS_PATIENCE_SECONDS", 0.05)
    async with bench.pool():
        mine = Leases(bench.arena.path)
        with pytest.raises(ServiceRestarting, match="worker processes of an earlier store still write"):
            await until_writers_are_gone(mine)
        mine.close()


async def test_readers_are_no_writers(bench: Bench) -> None:
    reader, mine = Leases(bench.arena.path), Leases(bench.arena.path)
    assert reader.lease(3)
    await asyncio.wait_for(until_writers_are_gone(mine), 10)
    reader.close()
    mine.close()
