"""States: what is resident of an expert by halves is kept while it is worth it, and only the rest is read."""

import asyncio
from pathlib import Path

import pytest

from tests.scheduler.scene import Looks, Scene, staged
from zipmoe.arena.directory import State
from zipmoe.arena.layout import PLANES, Part
from zipmoe.scheduler.policy import Phase
from zipmoe.scheduler.store_client import LOAD, RECOVER, REDUCE, Response

FULL, COMPRESSED, SIGN_MANTISSAS, EXPONENTS = State.FULL, State.COMPRESSED, State.SIGN_MANTISSAS, State.EXPONENTS


async def decode(scene: Scene, *steps: tuple[int, ...]) -> None:
    """Decodes steps that need these experts."""
    for experts in steps:
        scene.use.advance()
        await scene.get(*experts)


def loaded(scene: Scene, expert: int) -> tuple[Part, ...]:
    """The parts that the expert's last load from disk brought."""
    placement = [each for each in scene.store.placements if each.expert == expert and each.act == LOAD][-1]
    return tuple(sorted(placement.slots))


async def test_an_expert_comes_as_two_planes(folder: Path) -> None:
    async with staged(folder, pools=(0, 3, 3), prompt=True) as scene:
        await decode(scene, (0, 1))
        assert scene.states() == {0: COMPRESSED, 1: COMPRESSED}
        assert loaded(scene, 0) == PLANES


async def test_the_coldest_goes_altogether_where_there_are_as_many_slots_for_both_planes(folder: Path) -> None:
    async with staged(folder, pools=(0, 2, 2), prompt=True) as scene:
        await decode(scene, (0,), (1,), (2,))
        assert scene.states() == {1: COMPRESSED, 2: COMPRESSED}
        assert (scene.scheduler.statistics().evictions, scene.scheduler.statistics().demotions) == (1, 0)


@pytest.mark.parametrize(
    ("pools", "left", "lacked"),
    [((0, 4, 2), SIGN_MANTISSAS, Part.EXPONENTS), ((0, 2, 4), EXPONENTS, Part.SIGN_MANTISSAS)],
)
async def test_a_plane_stays_and_only_the_other_is_read_again(
    folder: Path, pools: tuple[int, int, int], left: State, lacked: Part
) -> None:
    async with staged(folder, pools=pools, prompt=True) as scene:
        await decode(scene, (0,), (1,), (2,), (3,))
        assert scene.states() == {0: left, 1: left, 2: COMPRESSED, 3: COMPRESSED}
        before = scene.scheduler.statistics().bytes_read
        await decode(scene, (0,))
        assert loaded(scene, 0) == (lacked,)
        assert scene.states() == {0: COMPRESSED, 1: left, 2: left, 3: COMPRESSED}
        statistics = scene.scheduler.statistics()
        assert statistics.bytes_read - before == scene.arena.header.part_bytes(lacked)
        assert (statistics.misses, statistics.partial_misses, statistics.demotions) == (5, 1, 3)
        await decode(scene, (4,))
        assert scene.states() == {0: COMPRESSED, 2: left, 3: left, 4: COMPRESSED}
        assert statistics.evictions + 1 == scene.scheduler.statistics().evictions


async def test_a_plane_that_waits_for_the_other_is_not_taken_away(folder: Path, looks: Looks) -> None:
    async with staged(folder, pools=(0, 4, 2), prompt=True) as scene:
        await decode(scene, (0,), (1,), (2,), (3,))
        with scene.leased(2), scene.leased(3):
            half, none = scene.want(0), scene.want(4)
            await looks.again()
            assert scene.states() == {0: SIGN_MANTISSAS, 1: SIGN_MANTISSAS, 2: COMPRESSED, 3: COMPRESSED}
        assert [await half, await none] == [[0], [4]]
        assert loaded(scene, 0) == (Part.EXPONENTS,)


@pytest.mark.parametrize("pools", [(0, 2, 2), (0, 5, 2), (0, 2, 5), (1, 2, 2)])
@pytest.mark.parametrize("phase", Phase)
async def test_few_slots_of_any_kind_serve_all_experts(folder: Path, pools: tuple[int, int, int], phase: Phase) -> None:
    async with staged(folder, pools=pools, prompt=True) as scene:
        assert sorted(await scene.get(*range(16), phase=phase)) == list(range(16))
        assert sorted(await scene.get(*range(16), phase=phase)) == list(range(16))


async def test_slots_for_words_are_filled_first(folder: Path) -> None:
    async with staged(folder, pools=(1, 2, 2), prompt=True) as scene:
        await decode(scene, (0, 1, 2))
        assert scene.states() == {0: FULL, 1: COMPRESSED, 2: COMPRESSED}
        assert loaded(scene, 0) == (Part.WORDS,)


async def test_the_warmest_becomes_words_and_who_was_falls_to_planes_before_it_goes(folder: Path) -> None:
    async with staged(folder, pools=(1, 3, 3), prompt=True) as scene:
        await decode(scene, (0, 1, 2), (0, 1), (1,), (1,))
        assert scene.states() == {0: FULL, 1: COMPRESSED, 2: COMPRESSED}
        before = scene.scheduler.statistics()
        # The scheduler looks when something is missing.
        await decode(scene, (3,), (1,))
        await moved(scene, (0, REDUCE), (1, RECOVER))
        assert scene.states() == {0: COMPRESSED, 1: FULL, 3: COMPRESSED}
        scene.take_up(0)
        scene.take_up(1)
        after = scene.scheduler.statistics()
        assert after.bytes_read - before.bytes_read == scene.arena.header.slot_bytes, "moves read nothing"
        assert after.misses - before.misses == 1


async def test_who_is_colder_than_all_in_planes_makes_room_by_going(folder: Path) -> None:
    async with staged(folder, pools=(1, 2, 2), prompt=True) as scene:
        await decode(scene, (0, 1, 2), (1, 2), (1,), (3, 1), (1,))
        await moved(scene, (1, RECOVER))
        assert scene.states() == {1: FULL, 3: COMPRESSED}


async def test_a_move_that_fails_leaves_its_expert_where_it_was(folder: Path) -> None:
    async with staged(folder, pools=(1, 3, 3), prompt=True) as scene:
        await decode(scene, (0, 1, 2), (0, 1), (1,), (1,))
        scene.store.prompt = False
        want = scene.want(3)
        await scene.store.until_aloft(0, 3)
        scene.store.finish(3)
        assert await want == [3]
        scene.store.finish(0, Response.OUTCOME_LOST, "a worker process died under it")
        await moved(scene, (0, REDUCE))
        assert scene.states() == {0: FULL, 1: COMPRESSED, 3: COMPRESSED}


async def test_a_new_scheduler_finds_halves_too(folder: Path) -> None:
    async with staged(folder, pools=(1, 3, 2), prompt=True) as scene:
        await decode(scene, (0,), (0, 1), (0, 2), (0, 3))
        before = scene.states()
        assert set(before.values()) == {FULL, COMPRESSED, SIGN_MANTISSAS}
    async with staged(folder, pools=(1, 3, 2)) as scene:
        assert scene.states() == before


async def moved(scene: Scene, *moves: tuple[int, int]) -> None:
    """Waits until exactly these have been carried out."""
    async with asyncio.timeout(10):
        while scene.scheduler.slots.residency.filling or scene.scheduler._flights:
            await asyncio.sleep(0)
    assert [(each.expert, each.act) for each in scene.store.placements if each.act != LOAD] == list(moves)


@pytest.mark.parametrize(("order", "first"), [("johnson", [0, 4]), ("asked", [4, 0]), ("tokens", [4, 0])])
async def test_loads_go_off_in_the_order_that_was_chosen(folder: Path, order: str, first: list[int]) -> None:
    """Of 4 everything has to be read, of 0 the exponents alone."""
    async with staged(folder, pools=(0, 4, 2), prompt=True, order=order) as scene:
        await decode(scene, (0,), (1,), (2,))
        scene.store.asked.clear()
        await decode(scene, (4, 0))
        assert scene.store.asked == first
