"""Slots: nobody loses an expert it is using, and few slots only make it slower."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scheduler.scene import Looks, staged
from zipmoe.errors import CacheExhausted
from zipmoe.scheduler import scheduler, victims
from zipmoe.scheduler.policy import PREFILL_SLOTS, Phase
from zipmoe.scheduler.scheduler import ROOM_LOOK_SECONDS
from zipmoe.scheduler.slots import MOST_ALOFT


async def test_a_leased_expert_is_never_the_victim(folder: Path) -> None:
    async with staged(folder, slots=3, prompt=True) as scene:
        await scene.get(0, 1, 2)
        with scene.leased(0), scene.leased(2):
            for expert in range(3, 12):
                await scene.get(expert)
                assert scene.residents() == {0, 2, expert}
        for _ in range(3):
            scene.use.advance()
            scene.take_up(11)
        await scene.get(12)
        assert scene.residents() & {0, 2} != {0, 2}


async def test_a_load_waits_for_a_lease_to_end(folder: Path, looks: Looks) -> None:
    async with staged(folder, slots=2, prompt=True) as scene:
        await scene.get(0, 1)
        with scene.leased(0):
            with scene.leased(1):
                want = scene.want(2)
                await looks.again()
                assert scene.residents() == {0, 1}
            assert await want == [2]
            assert scene.residents() == {0, 2}


async def test_leases_that_never_end_exhaust_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "ROOM_PATIENCE_SECONDS", 0.05)
    async with staged(folder, slots=2, prompt=True) as scene:
        await scene.get(0, 1)
        with scene.leased(0), scene.leased(1):
            with pytest.raises(CacheExhausted, match="all 2 slots of the arena stayed in use for 0 s"):
                await scene.get(2)
            assert scene.residents() == {0, 1}
        assert await scene.get(2) == [2]


@pytest.mark.parametrize("found", [False, True])
async def test_a_grant_stays_until_it_is_taken_up(
    folder: Path, looks: Looks, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    """And what somebody has found resident, and says so, as well."""
    monkeypatch.setattr(victims, "TAKE_UP_SECONDS", 1000.0)
    async with staged(folder, slots=2, prompt=True) as scene:
        if found:
            await scene.get(0, 1)
            counts = {expert: scene.use.read(expert).uses for expert in (0, 1)}
            assert not [expert async for expert, _ in scene.scheduler.acquire([], Phase.DECODE, counts)]
        else:
            granted = [expert async for expert, _ in scene.scheduler.acquire([0, 1], Phase.DECODE)]
            assert sorted(granted) == [0, 1]
        want = scene.want(2)
        await looks.again()
        assert scene.residents() == {0, 1}
        scene.take_up(1)
        assert await want == [2]
        assert scene.residents() == {0, 2}


async def test_a_grant_that_nobody_takes_up_is_not_kept_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(victims, "TAKE_UP_SECONDS", 0.01)
    async with staged(folder, slots=2, prompt=True) as scene:
        _ = [expert async for expert, _ in scene.scheduler.acquire([0, 1], Phase.DECODE)]
        assert sorted(await scene.get(2, 3)) == [2, 3]


@pytest.mark.parametrize("phase", Phase)
async def test_two_slots_serve_all_experts_to_a_reader_that_takes_them_up(folder: Path, phase: Phase) -> None:
    async with staged(folder, slots=2, prompt=True) as scene:
        assert sorted(await scene.get(*range(16), phase=phase)) == list(range(16))
        assert sorted(scene.store.asked) == list(range(16))
        assert scene.scheduler.statistics().evictions == 14


async def test_two_readers_share_two_slots(folder: Path) -> None:
    async with staged(folder, slots=2, prompt=True) as scene:
        one, other = await asyncio.gather(scene.want(*range(16)), scene.want(*range(15, -1, -1)))
        assert sorted(one) == sorted(other) == list(range(16))


async def test_the_coldest_goes_first(folder: Path) -> None:
    async with staged(folder, slots=3, prompt=True) as scene:
        await scene.get(0, 1, 2)
        for step, expert in enumerate((0, 2, 0, 0, 2)):
            scene.use.advance()
            scene.take_up(expert)
            assert scene.use.step() == step + 1
        await scene.get(3)
        assert scene.residents() == {0, 2, 3}


async def test_a_prefill_of_everything_leaves_the_working_set(folder: Path) -> None:
    working = set(range(4))
    async with staged(folder, slots=len(working) + PREFILL_SLOTS, prompt=True, layers=4) as scene:
        await scene.get(*working)
        assert len(await scene.get(*range(32), phase=Phase.PREFILL)) == 32
        assert working <= scene.residents()


async def test_a_prefill_waits_for_its_own_slots_rather_than_take_those_of_the_working_set(
    folder: Path, looks: Looks
) -> None:
    working = set(range(4))
    async with staged(folder, slots=len(working) + PREFILL_SLOTS, prompt=True, layers=4) as scene:
        await scene.get(*working)
        prompt = range(4, 4 + PREFILL_SLOTS)
        await scene.get(*prompt, phase=Phase.PREFILL)
        with ExitStack() as held:
            for expert in prompt[1:]:
                held.enter_context(scene.leased(expert))
            with scene.leased(prompt[0]):
                want = scene.want(31, phase=Phase.PREFILL)
                await looks.again()
                assert scene.residents() == working | set(prompt)
            assert await want == [31]
            assert scene.residents() == working | set(prompt[1:]) | {31}


async def test_a_prefill_into_a_full_working_set_circulates_through_a_few_slots(folder: Path) -> None:
    working = set(range(PREFILL_SLOTS + 4))
    async with staged(folder, slots=len(working), prompt=True, layers=4) as scene:
        await scene.get(*working)
        prompt = set(range(32)) - working
        assert set(await scene.get(*prompt, phase=Phase.PREFILL)) == prompt
        assert len(working & scene.residents()) == len(working) - MOST_ALOFT


async def test_no_more_take_slots_away_at_a_time_than_keep_the_workers_busy(folder: Path) -> None:
    async with staged(folder, slots=2 * MOST_ALOFT, layers=6) as scene:
        first = scene.want(*range(2 * MOST_ALOFT))
        await scene.store.until_aloft(*range(2 * MOST_ALOFT))
        for expert in range(2 * MOST_ALOFT):
            scene.store.finish(expert)
        await first
        more = range(2 * MOST_ALOFT, 4 * MOST_ALOFT)
        want = scene.want(*more)
        await scene.store.until_aloft(*more[:MOST_ALOFT])
        await asyncio.sleep(5 * ROOM_LOOK_SECONDS)
        assert scene.store.aloft.keys() == set(more[:MOST_ALOFT])
        assert len(scene.residents()) == MOST_ALOFT
        for expert in more:
            while expert not in scene.store.aloft:
                await asyncio.sleep(0)
            scene.store.finish(expert)
        assert sorted(await want) == list(more)
        assert len(scene.residents() & set(range(2 * MOST_ALOFT))) >= MOST_ALOFT - 1


async def test_what_was_used_before_the_call_came_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk goes on while its call is on the way."""
    monkeypatch.setattr(victims, "TAKE_UP_SECONDS", 1000.0)
    async with staged(folder, slots=2, prompt=True) as scene:
        await scene.get(0, 1)
        found = {expert: scene.use.read(expert).uses for expert in (0, 1)}
        scene.take_up(0)
        scene.take_up(1)
        assert [expert async for expert, _ in scene.scheduler.acquire([2], Phase.DECODE, found)] == [2]
