"""Pool: real workers bring the checkpoint's bytes, the most urgent first, and their deaths cost one load each."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from tests.expert_store.bench import EXPERTS, LAYERS, Bench
from tests.system.stack import resident_megabytes
from zipmoe.errors import WorkerLost
from zipmoe.expert_store.pool import Load
from zipmoe.expert_store.task import Outcome, Result, Urgency


async def outcome(load: Load) -> Outcome:
    return await asyncio.wait_for(asyncio.shield(load.outcome), 20)


@pytest.mark.parametrize("resident", ["bench", "packed_bench"])
async def test_a_slot_gets_the_bytes_of_the_checkpoint(request: pytest.FixtureRequest, resident: str) -> None:
    bench: Bench = request.getfixturevalue(resident)
    assert (bench.arena.header.bits == 3) == (resident == "packed_bench")
    async with bench.pool(workers=2) as pool:
        loads = [await bench.submit(pool, number, 7 - number) for number in range(LAYERS * EXPERTS)]
        for load in loads:
            ended = await outcome(load)
            assert ended.result is Result.LOADED
            assert ended.bytes_read > 0
        for number in range(LAYERS * EXPERTS):
            assert bench.slot(7 - number) == bench.original(number)


async def test_a_demand_overtakes_all_that_is_queued(bench: Bench) -> None:
    async with bench.pool() as pool:
        order: list[str] = []
        with bench.stopped():
            first = await bench.submit(pool, 0, 0)
            await bench.started(first)
            loads = {
                "keep": await bench.submit(pool, 1, 1, Urgency.KEEP),
                "forecast": await bench.submit(pool, 2, 2, Urgency.FORECAST),
                "later forecast": await bench.submit(pool, 3, 3, Urgency.FORECAST),
                "demand": await bench.submit(pool, 4, 4, Urgency.DEMAND),
                "later demand": await bench.submit(pool, 5, 5, Urgency.DEMAND),
            }
            for name, load in loads.items():
                load.outcome.add_done_callback(partial(_note, order, name))
        for load in loads.values():
            assert (await outcome(load)).result is Result.LOADED
        assert order == ["demand", "later demand", "forecast", "later forecast", "keep"]


async def test_a_hastened_forecast_overtakes_what_is_less_urgent_and_is_done_once(bench: Bench) -> None:
    async with bench.pool() as pool:
        order: list[str] = []
        with bench.stopped():
            first = await bench.submit(pool, 0, 0)
            await bench.started(first)
            assert not pool.hasten(first)
            loads = {
                "forecast": await bench.submit(pool, 1, 1, Urgency.FORECAST),
                "hastened": await bench.submit(pool, 2, 2, Urgency.FORECAST),
                "demand": await bench.submit(pool, 3, 3, Urgency.DEMAND),
            }
            assert pool.hasten(loads["hastened"])
            late = await bench.submit(pool, 4, 4, Urgency.DEMAND)
            for name, load in {**loads, "late demand": late}.items():
                load.outcome.add_done_callback(partial(_note, order, name))
        for load in (*loads.values(), late):
            assert (await outcome(load)).result is Result.LOADED
        assert order == ["demand", "hastened", "late demand", "forecast"]
        assert not pool.hasten(loads["hastened"])
        await asyncio.wait_for(pool.drain(), 20)


async def test_a_hastened_load_can_be_cancelled(bench: Bench) -> None:
    async with bench.pool() as pool:
        before = bench.slot(1)
        with bench.stopped():
            await bench.started(await bench.submit(pool, 0, 0))
            load = await bench.submit(pool, 1, 1, Urgency.FORECAST)
            assert pool.hasten(load)
            assert pool.cancel(load)
            assert not pool.hasten(load)
        assert (await outcome(await bench.submit(pool, 2, 2, Urgency.KEEP))).result is Result.LOADED
        assert bench.slot(1) == before


async def test_a_hastened_load_outlives_a_worker_that_died_idle(bench: Bench) -> None:
    async with bench.pool() as pool:
        (worker,) = bench.workers()
        worker.kill()
        worker.wait()
        load = await bench.submit(pool, 1, 1, Urgency.FORECAST)
        pool.hasten(load)
        assert (await outcome(load)).result is Result.LOADED
        assert bench.slot(1) == bench.original(1)
        assert (await outcome(await bench.submit(pool, 2, 2, Urgency.KEEP))).result is Result.LOADED


async def test_a_load_cancelled_before_its_start_leaves_its_slot_alone(bench: Bench) -> None:
    async with bench.pool() as pool:
        before = bench.slot(1)
        with bench.stopped():
            first = await bench.submit(pool, 0, 0)
            await bench.started(first)
            second, third = await bench.submit(pool, 1, 1), await bench.submit(pool, 2, 2)
            assert pool.cancel(second)
            assert (await outcome(second)).result is Result.DROPPED
            assert not pool.cancel(second)
        assert (await outcome(third)).result is Result.LOADED
        assert bench.slot(1) == before


async def test_a_load_that_has_started_ends_by_itself(bench: Bench) -> None:
    async with bench.pool() as pool:
        with bench.stopped():
            load = await bench.submit(pool, 3, 0)
            await bench.started(load)
            assert not pool.cancel(load)
        assert (await outcome(load)).result is Result.LOADED
        assert bench.slot(0) == bench.original(3)


async def test_a_killed_worker_loses_its_load_alone_and_is_replaced(bench: Bench) -> None:
    async with bench.pool() as pool:
        (worker,) = bench.workers()
        worker.suspend()
        load, waiting = await bench.submit(pool, 0, 0), await bench.submit(pool, 1, 1)
        await bench.started(load)
        worker.kill()
        assert await outcome(load) == Outcome(Result.LOST, "a worker process died under it")
        assert (await outcome(waiting)).result is Result.LOADED
        assert bench.slot(1) == bench.original(1)
        assert pool.replaced == 1
        assert [other.pid for other in bench.workers()] != [worker.pid]


async def test_a_worker_that_died_idle_costs_no_load(bench: Bench) -> None:
    async with bench.pool(workers=2) as pool:
        workers = bench.workers()
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait()
        for number in range(LAYERS * EXPERTS):
            assert (await outcome(await bench.submit(pool, number, number))).result is Result.LOADED
            assert bench.slot(number) == bench.original(number)


async def test_draining_drops_the_queue_and_waits_for_what_is_written(bench: Bench) -> None:
    async with bench.pool() as pool:
        with bench.stopped():
            writing = await bench.submit(pool, 0, 0)
            await bench.started(writing)
            queued = [await bench.submit(pool, number, number) for number in (1, 2, 3)]
            drained = asyncio.ensure_future(pool.drain())
            for load in queued:
                assert (await outcome(load)).result is Result.DROPPED
            assert not drained.done()
            assert not writing.outcome.done()
        await asyncio.wait_for(drained, 20)
        assert writing.outcome.done()
        assert (await outcome(await bench.submit(pool, 1, 1))).result is Result.LOADED


async def test_a_damaged_blob_is_named_and_the_worker_goes_on(bench: Bench, tmp_path: Path) -> None:
    damaged = tmp_path / "experts.bin"
    stored = bytearray(bench.pack.experts_path.read_bytes())
    stored[bench.pack.expert(0, 1).offset] ^= 1
    damaged.write_bytes(stored)
    async with bench.pool(experts_file=damaged) as pool:
        ended = await outcome(await bench.submit(pool, 1, 1))
        assert ended.result is Result.CORRUPT
        assert str(damaged) in ended.detail
        assert (await outcome(await bench.submit(pool, 2, 2))).result is Result.LOADED
        assert pool.replaced == 0


async def test_a_file_cut_short_under_a_worker_is_damage(bench: Bench, tmp_path: Path) -> None:
    damaged = tmp_path / "experts.bin"
    damaged.write_bytes(bench.pack.experts_path.read_bytes()[: bench.pack.expert(1, 3).offset])
    async with bench.pool(experts_file=damaged) as pool:
        assert (await outcome(await bench.submit(pool, 7, 7))).result is Result.CORRUPT
        assert (await outcome(await bench.submit(pool, 6, 6))).result is Result.LOADED


async def test_a_worker_is_small(bench: Bench) -> None:
    async with bench.pool() as pool:
        for number in range(LAYERS * EXPERTS):
            await outcome(await bench.submit(pool, number, number))
        (worker,) = bench.workers()
        assert resident_megabytes(worker.pid) < 30


async def test_workers_end_with_their_pool(bench: Bench) -> None:
    async with bench.pool(workers=2):
        workers = bench.workers()
        assert len(workers) == 2
    assert not any(worker.is_running() for worker in workers)


async def test_workers_that_cannot_start_are_an_error(
    bench: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def start() -> None:
        async with bench.pool(experts_file=tmp_path / "none"):
            pass

    with pytest.raises(WorkerLost, match="worker 0 dies as it starts, see its message above"):
        await asyncio.wait_for(start(), 60)
    assert f"{tmp_path}/none" in capfd.readouterr().err


def _note(order: list[str], name: str, _: object) -> None:
    order.append(name)
