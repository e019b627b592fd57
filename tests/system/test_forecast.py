"""Reading ahead changes what is resident and when, never what is written; and nobody depends on it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from tests.system.local_model import LocalModel, local_model, on_thread
from tests.system.prompts import prompts
from tests.system.stack import Stack
from zipmoe.client import Client
from zipmoe.errors import ServiceRestarting
from zipmoe.inference.mixture import WalkedMixture
from zipmoe.inference.model.arithmetic import Rows
from zipmoe.inference.model.forecast import Expected
from zipmoe.inference.model.mixture import Foretell, Routed

DEPTH, TOKENS, KILLS = 2, 24, 5


@pytest.fixture(scope="module")
def stack(demo_pack: Path) -> Iterator[Stack]:
    with Stack(demo_pack, arena_size="30%", forecast=DEPTH) as stack:
        yield stack.start()


@pytest.fixture(scope="module")
def texts(demo_checkpoint: Path) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(demo_checkpoint / "tokenizer.json"))
    return [prompt.tolist() for prompt in prompts(tokenizer, [1, 2, 17, 60, 130], seed=3)]


async def generate(stack: Stack, text: list[int]) -> tuple[list[int], int]:
    """What is written, and how many uses of experts found theirs absent."""
    async with Client(stack.places.inference) as client:
        pieces = [piece async for piece in client.generate(text, max_tokens=TOKENS)]
    assert pieces[-1].usage is not None
    return [token for piece in pieces for token in piece.tokens], pieces[-1].usage.expert_misses


async def test_the_text_is_the_same_with_and_without(stack: Stack, demo_pack: Path, texts: list[list[int]]) -> None:
    with Stack(demo_pack, arena_size="30%") as other:
        other.start()
        without = [await generate(other, text) for text in texts]
        assert (await other.status()).forecasts == 0
    before = await stack.status()
    found = [await generate(stack, text) for text in texts]
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in without]
    after = await stack.status()
    misses = sum(misses for _, misses in found)
    print(f"\nmisses with forecasts {misses}, without {sum(misses for _, misses in without)}")
    assert after.misses - before.misses <= misses, "inference may ask for what has come meanwhile, no more"


async def test_what_came_of_forecasts_is_counted(stack: Stack, texts: list[list[int]]) -> None:
    await generate(stack, texts[-1])
    seen = await stack.status()
    assert 0 < seen.forecasts_in_time <= seen.forecast_loads <= seen.forecasts
    assert 0 < seen.forecast_bytes_used <= seen.forecast_bytes_read < seen.bytes_read
    # Most of what is forecast for a token is wanted, and here much has to be read.
    assert seen.forecasts_in_time > seen.forecast_loads / 4


@pytest.mark.parametrize("service", ["scheduler", "expert_store"])
async def test_a_kill_harms_nobody(stack: Stack, texts: list[list[int]], service: str) -> None:
    chance, text = random.Random(service), texts[2]
    expected, _ = await generate(stack, text)
    for _ in range(KILLS):
        interrupted = asyncio.create_task(generate(stack, text))
        await asyncio.sleep(chance.uniform(0, 0.5))
        stack.kill(service)
        stack.start(service)
        with contextlib.suppress(ServiceRestarting):
            assert (await interrupted)[0] == expected
        assert (await generate(stack, text))[0] == expected
    await generate(stack, texts[-1])
    assert (await stack.status()).forecast_loads > 0, "inference has found the new one"
    while (now := await stack.status()).loading:
        await asyncio.sleep(0.01)
    assert all(pool.used <= pool.slots for pool in now.pools)


class Watched(WalkedMixture):
    """Notes what each layer of a step wanted, and what had been forecast for the next ones."""

    def __init__(self, local: LocalModel) -> None:
        super().__init__(local.experts, local.model.arithmetic, np.ones(1, np.bool_))
        self.wanted: list[set[int]] = []
        self.forecast: list[Expected | None] = []

    def __call__(self, layer: int, routed: Sequence[Routed], foretell: Foretell | None = None) -> list[Rows]:
        self.wanted.append(set(routed[0].experts[0].tolist()))
        self.forecast.append(foretell and foretell())
        return super().__call__(layer, routed, foretell)

    def recall(self, ahead: int) -> list[float]:
        """The share of each layer's experts that was forecast so many layers ahead."""
        pairs = zip(self.forecast, self.wanted[ahead:], strict=False)
        # A step has a None at its end alone, so those that reach beyond it are told by their length.
        return [
            len(wanted & set(later.experts[0, ahead - 1].tolist())) / len(wanted)
            for later, wanted in pairs
            if later is not None and later.experts.shape[1] >= ahead
        ]


@pytest.fixture(scope="module", params=["fast", "reference"])
async def models(stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[tuple[LocalModel, LocalModel]]:
    """One without forecasts and one with."""
    async with local_model(stack, request.param) as without, local_model(stack, request.param, DEPTH) as ahead:
        yield without, ahead


async def test_logits_are_the_same_bits(models: tuple[LocalModel, LocalModel], texts: list[list[int]]) -> None:
    for text in texts:
        seen = [await on_thread(local.greedy, torch.tensor(text), 8) for local in models]
        assert seen[0][0] == seen[1][0]
        assert all(torch.equal(one, other) for one, other in zip(seen[0][1], seen[1][1], strict=True))


def steps(local: LocalModel, text: list[int]) -> Watched:
    """Compute thread: TOKENS decode steps after a text."""
    seen = local.text(len(text) + TOKENS)
    logits, watched = local.prefill(torch.tensor(text), seen), Watched(local)
    for _ in range(TOKENS):
        local.experts.use.advance()
        logits = seen.forward(logits[-1].argmax()[None], watched)
    return watched


async def test_most_of_what_is_wanted_was_forecast(
    models: tuple[LocalModel, LocalModel], texts: list[list[int]]
) -> None:
    watched = [await on_thread(steps, models[1], text) for text in texts]
    found = [float(np.mean([share for each in watched for share in each.recall(ahead)])) for ahead in (1, 2)]
    print("\nof the experts wanted, forecast one and two layers ahead: " + ", ".join(f"{each:.0%}" for each in found))
    assert found[0] > 0.7
    assert found[0] > found[1] > 0.6
