"""Forecasts: read ahead behind every demand, joined by it when it comes, dropped when their layer is past."""

from pathlib import Path

import pytest

from tests.scheduler.scene import Scene, staged
from zipmoe.arena.directory import State
from zipmoe.arena.layout import Part
from zipmoe.errors import CorruptExpert, ServiceRestarting, UnknownExpert
from zipmoe.scheduler.benefit import Counts
from zipmoe.scheduler.forecasts import LOADS_A_WORKER
from zipmoe.scheduler.store_client import DEMAND, FORECAST, Response

GONE = ServiceRestarting("the socket is closed")


def counts(scene: Scene) -> Counts:
    return scene.scheduler.statistics().forecasts


async def test_what_is_forecast_is_a_hit(folder: Path) -> None:
    async with staged(folder, slots=4) as scene:
        scene.forecast(0, 8, 9)
        await scene.store.until_aloft(8, 9)
        assert scene.store.urgencies == {8: FORECAST, 9: FORECAST}
        scene.store.finish(8)
        scene.store.finish(9)
        await scene.quiet()
        assert scene.residents() == {8, 9}
        scene.take_up(8)
        size = scene.arena.header.slot_bytes
        assert counts(scene) == Counts(2, loads=2, bytes_read=2 * size, bytes_used=size, in_time=1)
        assert await scene.get(8) == [8]
        assert scene.scheduler.statistics().misses == 0


async def test_only_as_many_are_on_their_way_as_keep_the_workers_busy(folder: Path) -> None:
    async with staged(folder, slots=8) as scene:
        most = LOADS_A_WORKER * scene.store.workers
        scene.forecast(0, *range(8, 16))
        await scene.store.until_aloft(*range(8, 8 + most))
        await scene.quiet()
        assert len(scene.store.aloft) == most
        scene.store.finish(9)
        await scene.store.until_aloft(8, *range(10, 9 + most))


@pytest.mark.parametrize("demand_first", [False, True])
async def test_the_layers_own_demands_come_first(folder: Path, demand_first: bool) -> None:
    async with staged(folder, slots=4) as scene:
        want = scene.want(0, 1) if demand_first else None
        await scene.quiet()
        scene.forecast(0, 8, demanding=True)
        await scene.quiet()
        assert demand_first or not scene.store.asked
        want = want or scene.want(0, 1)
        await scene.store.until_aloft(0, 1, 8)
        assert scene.store.asked == [0, 1, 8]
        assert scene.store.urgencies == {0: DEMAND, 1: DEMAND, 8: FORECAST}
        for expert in (0, 1, 8):
            scene.store.finish(expert)
        assert sorted(await want) == [0, 1]


async def test_a_demand_joins_a_forecast_on_its_way(folder: Path) -> None:
    async with staged(folder, slots=4) as scene:
        scene.forecast(0, 8)
        await scene.store.until_aloft(8)
        wants = [scene.want(8), scene.want(8)]
        await scene.quiet()
        scene.store.finish(8)
        assert [await want for want in wants] == [[8], [8]]
        assert scene.store.asked == [8]
        assert scene.store.cancelled == scene.store.hastened == []
        size = scene.arena.header.slot_bytes
        assert counts(scene) == Counts(1, loads=1, bytes_read=size, bytes_used=size, in_time=1)
        assert scene.scheduler.statistics().misses == 1, "it had to be waited for"


async def test_what_a_demand_joins_in_the_queue_is_hastened(folder: Path) -> None:
    async with staged(folder, slots=4) as scene:
        scene.forecast(0, 8, 9, 10)
        await scene.store.until_aloft(8, 9, 10)
        want = scene.want(10)
        await scene.quiet()
        assert scene.store.hastened == [10]
        again = scene.want(10)
        await scene.quiet()
        assert scene.store.hastened == [10]
        scene.store.finish(10)
        assert await want == await again == [10]


async def test_a_demand_that_joined_and_leaves_takes_the_load_with_it(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        scene.forecast(0, 8)
        await scene.store.until_aloft(8)
        want = scene.want(8)
        await scene.quiet()
        want.cancel()
        await scene.store.until_cancelled(8)
        scene.store.finish(8, Response.OUTCOME_DROPPED)
        await scene.quiet()
        assert scene.scheduler.slots.residency.free(Part.WORDS) == 2


async def test_what_the_next_layer_forecasts_takes_the_place_of_what_was(folder: Path) -> None:
    async with staged(folder, slots=4, layers=4) as scene:
        scene.forecast(0, 8, 16, 17)
        await scene.store.until_aloft(8, 16, 17)
        scene.forecast(1, 16, 18)
        await scene.store.until_cancelled(8, 17)
        await scene.store.until_aloft(8, 16, 17, 18)
        scene.store.finish(8, Response.OUTCOME_DROPPED)
        scene.store.finish(17, Response.OUTCOME_DROPPED)
        await scene.quiet()
        assert scene.scheduler.slots.residency.free(Part.WORDS) == 2
        assert (counts(scene).forecasts, counts(scene).loads) == (4, 4)


async def test_a_slot_is_not_used_again_before_the_store_has_let_go_of_it(folder: Path) -> None:
    async with staged(folder, slots=1, layers=4) as scene:
        scene.forecast(0, 8)
        await scene.store.until_aloft(8)
        scene.forecast(1, 16)
        await scene.store.until_cancelled(8)
        await scene.quiet()
        assert scene.store.asked == [8]
        scene.store.finish(8, Response.OUTCOME_DROPPED)
        await scene.store.until_aloft(16)


async def test_a_forecast_that_could_not_be_dropped_any_more_is_a_resident_like_others(folder: Path) -> None:
    async with staged(folder, slots=1, layers=4) as scene:
        scene.forecast(0, 8)
        await scene.store.until_aloft(8)
        scene.forecast(2, 24)
        await scene.store.until_cancelled(8)
        scene.store.finish(8)
        # It is colder than a forecast.
        await scene.store.until_aloft(24)
        assert scene.residents() == set()
        assert counts(scene).bytes_used == 0


async def test_who_is_not_among_the_demands_of_its_layer_is_dropped(folder: Path) -> None:
    async with staged(folder, slots=4, layers=4) as scene:
        scene.forecast(0, 8, 9)
        await scene.store.until_aloft(8, 9)
        scene.forecast(1, 17, demanding=True)
        await scene.quiet()
        assert scene.store.cancelled == [], "whom the layer demands is still to be heard"
        want = scene.want(9, 10)
        await scene.store.until_cancelled(8)
        scene.store.finish(9)
        scene.store.finish(10)
        assert sorted(await want) == [9, 10]


async def test_the_next_token_drops_all(folder: Path) -> None:
    async with staged(folder, slots=4) as scene:
        scene.forecast(0, 8, 9)
        await scene.store.until_aloft(8, 9)
        scene.use.advance()
        want = scene.want(0)
        await scene.store.until_cancelled(8, 9)
        scene.store.finish(0)
        assert await want == [0]


async def test_demands_that_find_no_slot_drop_what_is_queued(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        scene.forecast(0, 8, 9)
        await scene.store.until_aloft(8, 9)
        want = scene.want(0)
        await scene.store.until_cancelled(8, 9)
        scene.store.finish(9, Response.OUTCOME_DROPPED)
        await scene.store.until_aloft(0, 8)
        scene.store.finish(0)
        assert await want == [0]


async def test_what_is_dropped_and_wanted_at_once_is_loaded(folder: Path) -> None:
    async with staged(folder, slots=4, layers=4) as scene:
        scene.forecast(0, 8)
        await scene.store.until_aloft(8)
        scene.forecast(2, 24)
        await scene.store.until_cancelled(8)
        want = scene.want(8)
        await scene.quiet()
        scene.store.finish(8, Response.OUTCOME_DROPPED)
        await scene.store.until_aloft(8, 24)
        assert scene.store.urgencies[8] == DEMAND
        scene.store.finish(8)
        assert await want == [8]


async def test_a_plane_that_is_resident_is_not_read_again(folder: Path) -> None:
    async with staged(folder, pools=(0, 3, 2), layers=4, prompt=True) as scene:
        await scene.get(8)
        for expert in (24, 25):
            for _ in range(8):
                scene.use.advance()
            await scene.get(expert)
        assert scene.states()[8] is State.SIGN_MANTISSAS
        scene.store.prompt = False
        scene.use.advance()
        scene.forecast(0, 8)
        await scene.store.until_aloft(8)
        assert tuple(scene.store.aloft[8].slots) == (Part.EXPONENTS,)
        scene.store.finish(8)
        await scene.quiet()
        assert 8 in scene.residents()


@pytest.mark.parametrize("outcome", [Response.OUTCOME_CORRUPT, Response.OUTCOME_LOST])
async def test_a_forecast_that_fails_harms_nobody(folder: Path, outcome: Response.Outcome) -> None:
    async with staged(folder, slots=2) as scene:
        scene.forecast(0, 8)
        await scene.store.until_aloft(8)
        scene.store.finish(8, outcome, "experts.bin at 4096")
        await scene.quiet()
        assert scene.store.asked == [8]
        assert scene.scheduler.slots.residency.free(Part.WORDS) == 2
        want = scene.want(8)
        await scene.store.until_aloft(8)
        scene.store.finish(8)
        assert await want == [8]


async def test_who_joined_a_forecast_hears_that_its_expert_is_damaged(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        scene.forecast(0, 8)
        await scene.store.until_aloft(8)
        want = scene.want(8)
        await scene.quiet()
        scene.store.finish(8, Response.OUTCOME_CORRUPT, "experts.bin at 4096")
        with pytest.raises(CorruptExpert):
            await want


async def test_a_lost_store_takes_its_forecasts_with_it(folder: Path) -> None:
    async with staged(folder, slots=3) as scene:
        scene.forecast(0, 8, 9)
        await scene.store.until_aloft(8, 9)
        joined = scene.want(9)
        await scene.quiet()
        scene.store.lose(GONE)
        await scene.store.until_draining(2)
        await scene.store.until_aloft(9)
        assert scene.store.urgencies[9] == DEMAND
        scene.store.finish(9)
        assert await joined == [9]
        assert scene.scheduler.slots.residency.free(Part.WORDS) == 2
        await scene.bring(0, 10)


async def test_an_expert_that_is_not_there_is_named(folder: Path) -> None:
    async with staged(folder, slots=2) as scene:
        with pytest.raises(UnknownExpert, match="expert number 16: the model has 16"):
            scene.forecast(0, 8, 16)
        await scene.quiet()
        assert scene.store.asked == []


async def test_what_went_unused_has_not_paid(folder: Path) -> None:
    async with staged(folder, slots=1, layers=4) as scene:
        await scene.bring(0, 8)
        scene.store.prompt = True
        await scene.get(16)
        assert counts(scene).bytes_used == 0
        # It comes back for a demand, and is used for that.
        await scene.get(8)
        assert counts(scene) == Counts(1, loads=1, bytes_read=scene.arena.header.slot_bytes)
