"""Who goes for a forecast, and for whom an expert that was forecast goes."""

from pathlib import Path

import pytest

from tests.scheduler.scene import Scene, staged
from zipmoe.scheduler import forecasts, victims
from zipmoe.scheduler.policy import Phase

LAYERS = 4


async def decoded(scene: Scene, expert: int, steps: int = 1, idle: int = 0) -> None:
    """Uses an expert in so many steps, then in none for `idle` more."""
    scene.store.prompt = True
    for _ in range(steps):
        scene.use.advance()
        await scene.get(expert)
    scene.store.prompt = False
    for _ in range(idle):
        scene.use.advance()


async def used(scene: Scene, expert: int) -> None:
    """Has an expert brought and used while layer 0 is computed."""
    await scene.bring(0, expert)
    scene.take_up(expert)


async def asked(scene: Scene) -> list[int]:
    """What is loaded for a forecast of expert 8 in layer 0, into the only slot."""
    before = len(scene.store.asked)
    scene.forecast(0, 8)
    await scene.quiet()
    return scene.store.asked[before:]


async def test_who_is_colder_goes(folder: Path) -> None:
    async with staged(folder, slots=1, layers=LAYERS) as scene:
        await decoded(scene, 24, idle=2)
        assert await asked(scene) == [8]
        assert scene.residents() == set()


@pytest.mark.parametrize("idle", [0, 1])
async def test_what_the_last_step_used_stays(folder: Path, idle: int) -> None:
    async with staged(folder, slots=1, layers=LAYERS) as scene:
        await decoded(scene, 24, idle=idle)
        assert await asked(scene) == []


async def test_what_every_step_uses_stays_though_the_last_ones_did_not(folder: Path) -> None:
    async with staged(folder, slots=1, layers=LAYERS) as scene:
        await decoded(scene, 24, steps=200, idle=2)
        assert await asked(scene) == []


@pytest.mark.parametrize("near", [0, 7, 9])
async def test_of_the_layers_being_computed_and_forecast_nobody_goes(folder: Path, near: int) -> None:
    async with staged(folder, slots=1, layers=LAYERS) as scene:
        await decoded(scene, near, idle=9)
        assert await asked(scene) == []


async def test_who_is_leased_stays(folder: Path) -> None:
    async with staged(folder, slots=1, layers=LAYERS) as scene:
        await decoded(scene, 24, idle=9)
        with scene.leased(24):
            assert await asked(scene) == []


async def test_who_was_granted_and_is_not_taken_up_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(victims, "TAKE_UP_SECONDS", 1000.0)
    async with staged(folder, slots=1, layers=LAYERS, prompt=True) as scene:
        assert [expert async for expert, _ in scene.scheduler.acquire([24], Phase.DECODE)] == [24]
        assert await asked(scene) == []


async def test_one_forecast_does_not_go_for_another(folder: Path) -> None:
    async with staged(folder, slots=1, layers=LAYERS) as scene:
        await scene.bring(0, 24)
        assert await asked(scene) == []


async def test_a_prompt_takes_no_slot_of_the_working_set(folder: Path) -> None:
    async with staged(folder, slots=1, layers=LAYERS) as scene:
        await decoded(scene, 24, idle=9)
        scene.forecast(0, 8, phase=Phase.PREFILL)
        await scene.quiet()
        assert 8 not in scene.store.asked
        scene.store.prompt = True
    async with staged(folder, slots=1, layers=LAYERS, prompt=True) as scene:
        await scene.get(25, phase=Phase.PREFILL)
        scene.forecast(0, 8, phase=Phase.PREFILL)
        await scene.quiet()
        assert scene.residents() == {8}


async def test_an_expert_that_was_forecast_stays_until_its_layer_is_past(folder: Path) -> None:
    async with staged(folder, slots=2, layers=LAYERS) as scene:
        await scene.bring(0, 16)
        await used(scene, 24)
        scene.store.prompt = True
        await scene.get(0)
        assert scene.residents() == {0, 16}, "24 went, though it was used a moment ago"
        await scene.get(17)
        assert scene.residents() == {16, 17}
        await scene.get(25)
        assert scene.residents() == {17, 25}


async def test_an_expert_that_was_forecast_stays_until_it_is_used(folder: Path) -> None:
    async with staged(folder, slots=2, layers=LAYERS) as scene:
        await scene.bring(0, 16)
        scene.take_up(16)
        await used(scene, 24)
        scene.take_up(24)
        scene.store.prompt = True
        await scene.get(0)
        assert scene.residents() == {0, 24}


async def test_an_expert_that_was_forecast_does_not_stay_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "SPARED_SECONDS", -1.0)
    async with staged(folder, slots=2, layers=LAYERS) as scene:
        await scene.bring(0, 16)
        await used(scene, 24)
        scene.store.prompt = True
        await scene.get(0)
        assert scene.residents() == {0, 24}


async def test_a_demand_that_finds_nobody_else_takes_its_slot(folder: Path) -> None:
    async with staged(folder, slots=1, layers=LAYERS) as scene:
        await scene.bring(0, 16)
        scene.store.prompt = True
        assert await scene.get(0) == [0]
        assert scene.residents() == {0}


@pytest.mark.parametrize("pools", [(2, 0, 0), (0, 2, 2), (0, 5, 2), (1, 2, 2)])
@pytest.mark.parametrize("phase", Phase)
async def test_few_slots_serve_all_experts_whatever_is_forecast(
    folder: Path, pools: tuple[int, int, int], phase: Phase
) -> None:
    async with staged(folder, pools=pools, layers=LAYERS, prompt=True) as scene:
        for step in range(3):
            scene.use.advance()
            for layer in range(LAYERS):
                later = [8 * (layer + 1) + (expert + step) % 8 for expert in range(4)] if layer + 1 < LAYERS else []
                scene.forecast(layer, *later, phase=phase, demanding=step == 1)
                wanted = range(8 * layer, 8 * layer + 5)
                assert sorted(await scene.get(*wanted, phase=phase)) == list(wanted)
