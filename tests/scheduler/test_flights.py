"""Flights: one load an expert however many want it, and none that nobody wants."""

import asyncio
from pathlib import Path

import pytest

from tests.scheduler.scene import Looks, staged
from zipmoe.arena.layout import Part
from zipmoe.errors import UnknownExpert
from zipmoe.scheduler.policy import Phase
from zipmoe.scheduler.store_client import Response


async def test_many_acquirers_share_one_load(folder: Path) -> None:
    async with staged(folder, slots=4) as scene:
        wants = [scene.want(3, 5) for _ in range(10)]
        await scene.store.until_aloft(3, 5)
        scene.store.finish(5)
        scene.store.finish(3)
        assert [sorted(await want) for want in wants] == [[3, 5]] * 10
        assert sorted(scene.store.asked) == [3, 5]
        assert scene.scheduler.statistics().misses == 2


async def test_what_is_resident_is_granted_without_a_load(folder: Path) -> None:
    async with staged(folder, slots=4, prompt=True) as scene:
        assert sorted(await scene.get(3, 5)) == [3, 5]
        scene.store.prompt = False
        assert await scene.get(5, 3, 5) == [5, 3]
        assert sorted(scene.store.asked) == [3, 5]


async def test_experts_come_in_the_order_in_which_they_land(folder: Path) -> None:
    async with staged(folder, slots=4) as scene:
        granted = scene.scheduler.acquire([1, 2, 3], Phase.DECODE)
        for expert in (2, 3, 1):
            next_one = asyncio.ensure_future(anext(granted))
            await scene.store.until_aloft(*{1, 2, 3} - scene.residents())
            scene.store.finish(expert)
            assert (await next_one)[0] == expert
            assert expert in scene.residents()


async def test_an_acquirer_that_leaves_drops_its_load_and_gives_back_the_slot(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        leaver = scene.want(3)
        await scene.store.until_aloft(3)
        leaver.cancel()
        await scene.store.until_cancelled(3)
        assert scene.scheduler.slots.residency.free(Part.WORDS) == 1
        scene.store.finish(3, Response.OUTCOME_DROPPED)
        want = scene.want(4, 5)
        await scene.store.until_aloft(4, 5)
        scene.store.finish(4)
        scene.store.finish(5)
        assert sorted(await want) == [4, 5]
        assert scene.residents() == {4, 5}


async def test_a_load_that_cannot_be_dropped_any_more_makes_its_expert_resident(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        leaver = scene.want(3)
        await scene.store.until_aloft(3)
        leaver.cancel()
        await scene.store.until_cancelled(3)
        scene.store.finish(3)
        assert await scene.get(3) == [3]
        assert scene.store.asked == [3]


async def test_a_load_that_others_wait_for_goes_on(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        leaver, stayer = scene.want(3), scene.want(3)
        await scene.store.until_aloft(3)
        leaver.cancel()
        await asyncio.wait([leaver])
        scene.store.finish(3)
        assert await stayer == [3]
        assert scene.store.cancelled == []


async def test_who_comes_back_before_the_drop_is_answered_gets_a_load_of_its_own(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        leaver = scene.want(3)
        await scene.store.until_aloft(3)
        leaver.cancel()
        await scene.store.until_cancelled(3)
        again = scene.want(3)
        await asyncio.sleep(0)
        scene.store.finish(3, Response.OUTCOME_DROPPED)
        await scene.store.until_aloft(3)
        scene.store.finish(3)
        assert await again == [3]


async def test_a_wish_that_has_no_slot_yet_is_forgotten_with_its_acquirer(folder: Path, looks: Looks) -> None:
    async with staged(folder, slots=2) as scene:
        holders = scene.want(0, 1)
        await scene.store.until_aloft(0, 1)
        leaver = scene.want(2)
        await looks.again()
        leaver.cancel()
        await asyncio.wait([leaver])
        scene.store.finish(0)
        scene.store.finish(1)
        await holders
        other = scene.want(4)
        await scene.store.until_aloft(4)
        scene.store.finish(4)
        assert await other == [4]
        assert scene.store.asked == [0, 1, 4]
        assert scene.store.cancelled == []


async def test_decoding_is_seated_before_prefill(folder: Path, looks: Looks) -> None:
    async with staged(folder, slots=2) as scene:
        first = scene.want(0, 1)
        await scene.store.until_aloft(0, 1)
        prefill = scene.want(8, phase=Phase.PREFILL)
        await looks.again()
        decode = scene.want(9)
        await looks.again()
        scene.store.finish(0)
        await scene.store.until_aloft(1, 9)
        scene.store.finish(1)
        await scene.store.until_aloft(8, 9)
        scene.store.finish(8)
        scene.store.finish(9)
        assert [await first, await prefill, await decode] == [[0, 1], [8], [9]]


@pytest.mark.parametrize("expert", [-1, 16])
async def test_an_expert_that_is_not_there_is_named_and_nothing_stays_in_flight(folder: Path, expert: int) -> None:
    async with staged(folder, slots=2) as scene:
        with pytest.raises(UnknownExpert, match=f"expert number {expert}: the model has 16"):
            await scene.get(3, expert)
        assert scene.store.asked == []
