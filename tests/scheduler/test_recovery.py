"""Recovery: a store that goes away, workers that die, bytes that are damaged, a scheduler that starts again."""

import asyncio
from pathlib import Path

import pytest

from tests.scheduler.scene import staged
from zipmoe.arena.layout import Part
from zipmoe.errors import CorruptExpert, ServiceRestarting, StaleEpoch, WorkerLost
from zipmoe.scheduler.scheduler import MOST_ATTEMPTS
from zipmoe.scheduler.store_client import Response

GONE = ServiceRestarting("the socket is closed")


async def test_nothing_is_loaded_before_the_first_drain(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        assert scene.store.drains == 1


async def test_a_lost_store_is_drained_before_its_slots_are_used_again(folder: Path) -> None:
    async with staged(folder, slots=3) as scene:
        want = scene.want(0, 1)
        await scene.store.until_aloft(0, 1)
        doubtful = scene.store.slots
        scene.store.drained.clear()
        scene.store.lose(GONE)
        await scene.store.until_draining(2)

        other = scene.want(2, 3)
        await scene.store.until_aloft(2)
        assert scene.store.slots.isdisjoint(doubtful)
        scene.store.finish(2)
        await scene.store.until_aloft(3)
        assert scene.store.slots.isdisjoint(doubtful)
        assert len(scene.scheduler.slots.residency.filling) == 3

        scene.store.drained.set()
        await scene.store.until_aloft(0, 1, 3)
        for expert in (0, 1, 3):
            scene.store.finish(expert)
        assert sorted(await want) == [0, 1]
        assert sorted(await other) == [2, 3]


async def test_a_store_that_stays_away_fails_its_waiters_and_keeps_the_slots(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        wants = [scene.want(0), scene.want(0)]
        await scene.store.until_aloft(0)
        scene.store.away = ServiceRestarting("nobody listens")
        scene.store.lose(GONE)
        for want in wants:
            with pytest.raises(ServiceRestarting, match="the expert store stays away: nobody listens"):
                await want
        assert set(scene.scheduler.slots.residency.filling) == {0}

        again = scene.want(0)
        await scene.store.until_draining(scene.store.drains + 20)
        assert scene.store.asked == [0]
        scene.store.away = None
        await scene.store.until_aloft(0)
        scene.store.finish(0)
        assert await again == [0]
        assert scene.scheduler.slots.residency.free(Part.WORDS) == 1


async def test_a_lost_load_is_tried_again(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        want = scene.want(0)
        for _ in range(MOST_ATTEMPTS - 1):
            await scene.store.until_aloft(0)
            scene.store.finish(0, Response.OUTCOME_LOST, "a worker process died under it")
        await scene.store.until_aloft(0)
        scene.store.finish(0)
        assert await want == [0]


async def test_a_load_that_is_lost_too_often_says_why(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        want = scene.want(0)
        for _ in range(MOST_ATTEMPTS):
            await scene.store.until_aloft(0)
            scene.store.finish(0, Response.OUTCOME_LOST, "the disk failed")
        with pytest.raises(WorkerLost, match="expert 0 could not be loaded: the disk failed"):
            await want
        assert scene.store.asked == [0] * MOST_ATTEMPTS
        assert scene.scheduler.slots.residency.free(Part.WORDS) == 2


async def test_a_damaged_expert_fails_every_waiter_and_no_other_expert(folder: Path) -> None:
    async with staged(folder, slots=4) as scene:
        wants, other = [scene.want(0) for _ in range(3)], scene.want(1)
        await scene.store.until_aloft(0, 1)
        scene.store.finish(0, Response.OUTCOME_CORRUPT, "experts.bin at 4096")
        scene.store.finish(1)
        for want in wants:
            with pytest.raises(CorruptExpert, match=r"experts\.bin at 4096"):
                await want
        assert await other == [1]
        assert scene.residents() == {1}
        assert scene.scheduler.slots.residency.free(Part.WORDS) == 3


async def test_two_damaged_experts_of_one_wish_are_one_error(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with staged(folder, slots=4) as scene:
        want = scene.want(0, 1)
        await scene.store.until_aloft(0, 1)
        scene.store.finish(0, Response.OUTCOME_CORRUPT, "experts.bin")
        scene.store.finish(1, Response.OUTCOME_CORRUPT, "experts.bin")
        with pytest.raises(CorruptExpert):
            await want
        await scene.store.until_aloft()
    del want
    assert "never retrieved" not in caplog.text


async def test_another_arena_is_fatal(folder: Path) -> None:
    async def lose() -> None:
        async with staged(folder, slots=2) as scene:
            want = scene.want(0)
            await scene.store.until_aloft(0)
            scene.store.lose(StaleEpoch("attach again"))
            want.cancel()
            await asyncio.wait_for(scene.scheduler.fatal, 10)

    with pytest.raises(StaleEpoch, match="attach again"):
        await lose()


async def test_a_new_scheduler_finds_what_the_old_one_had(folder: Path) -> None:
    async with staged(folder, slots=3, prompt=True) as scene:
        await scene.get(0, 5, 9, 11)
        before = dict(scene.scheduler.slots.residency.resident(Part.WORDS))
    async with staged(folder, slots=3) as scene:
        assert scene.scheduler.slots.residency.resident(Part.WORDS) == before
        assert sorted(await scene.get(*before)) == sorted(before)
        assert scene.store.asked == []


async def test_a_new_scheduler_does_not_believe_in_what_was_under_way(folder: Path) -> None:
    async with staged(folder, slots=3, prompt=True) as scene:
        await scene.get(0)
        scene.store.prompt = False
        want = scene.want(1)
        await scene.store.until_aloft(1)
        want.cancel()
    async with staged(folder, slots=3) as scene:
        assert scene.residents() == {0}
        assert scene.scheduler.slots.residency.free(Part.WORDS) == 2


async def test_two_records_of_one_slot_are_not_both_believed(folder: Path) -> None:
    async with staged(folder, slots=3, prompt=True) as scene:
        await scene.get(0)
        slots = scene.scheduler.slots
        pool, taken = slots.partition[Part.WORDS], slots.residency.resident(Part.WORDS)[0]
        for expert, offset in ((7, pool.slot_offset(taken)), (8, pool.end), (9, scene.arena.header.use_offset)):
            scene.directory.publish(expert, {Part.WORDS: offset})
    async with staged(folder, slots=3) as scene:
        assert scene.residents() == {0}
