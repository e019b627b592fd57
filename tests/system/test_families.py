"""Families: each is what transformers computes, over a pack and with a quarter of its experts' bytes in memory."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from tests.inference.texts import Texts
from tests.system.eager import eager
from tests.system.families import COMMON, MODELS, write_checkpoint
from tests.system.local_model import LocalModel, local_model, on_thread
from tests.system.stack import Stack
from zipmoe.pack.verify import verify
from zipmoe.pack.writer import pack

LENGTHS = [1, 2, 3, 5, 8, 17, 32, 33, 64, 100, 129, 200]
DECODED = 6

# Of the places where `fast` would write something else, those that no tie explains.
MOST_PARTED = 0.05


@pytest.fixture(scope="module", params=MODELS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family") / "checkpoint"
    write_checkpoint(request.param, folder)
    return folder


@pytest.fixture(scope="module")
def stack(checkpoint: Path) -> Iterator[Stack]:
    packed = checkpoint.with_name("packed.zipmoe")
    pack(checkpoint, packed)
    verify(packed, checkpoint)
    with Stack(packed, arena_size="25%") as stack:
        yield stack.start("expert_store", "scheduler")


@pytest.fixture(scope="module")
async def fast(stack: Stack) -> AsyncIterator[LocalModel]:
    async with local_model(stack, "fast", forecast=1) as model:
        yield model


@pytest.fixture(scope="module")
def theirs(checkpoint: Path) -> Any:
    return eager(checkpoint)


def prompt(length: int) -> torch.Tensor:
    return torch.randint(COMMON["vocab_size"], (length,), generator=torch.Generator().manual_seed(length))


async def test_reference_is_bit_identical_to_transformers(reference: LocalModel, theirs: Any) -> None:
    for length in LENGTHS:
        text, seen = prompt(length), DynamicCache()
        ourselves = reference.text(length + DECODED)
        ours = await on_thread(reference.prefill, text, ourselves, last=length)
        with torch.inference_mode():
            expected = theirs(text[None], past_key_values=seen).logits[0]
        assert torch.equal(ours, expected), f"prompt of {length} tokens"
        for step in range(DECODED):
            token = int(expected[-1].argmax())
            ours = await on_thread(reference.decode, token, ourselves)
            with torch.inference_mode():
                expected = theirs(torch.tensor([[token]]), past_key_values=seen).logits[0]
            assert torch.equal(ours, expected[0]), f"prompt of {length} tokens, decoded {step + 1}"


@pytest.mark.parametrize("batch", [2, 5, 8])
async def test_in_a_ragged_batch_each_is_transformers_own(reference: LocalModel, theirs: Any, batch: int) -> None:
    """Prompts of several lengths in one step, then a token of each, then prompts beside tokens."""
    texts = [prompt(length) for length in LENGTHS[-batch:]]
    together = Texts(reference.model, [len(text) + 8 for text in texts])
    seen = [DynamicCache() for _ in texts]
    steps = [texts, *([torch.tensor([7 * step + place]) for place in range(batch)] for step in range(3))]
    steps.append([torch.arange(1 + place % 4) for place in range(batch)])
    for step in steps:
        tokens = sum(map(len, step))
        lasts = [len(some) for some in step]
        ours = await on_thread(together.forward, step, reference.mixture(tokens, decoding=False), lasts)
        for cache, some, logits in zip(seen, step, ours, strict=True):
            with torch.inference_mode():
                assert torch.equal(logits, theirs(some[None], past_key_values=cache).logits[0])


async def test_fast_writes_the_same_up_to_ties(reference: LocalModel, fast: LocalModel) -> None:
    """A tie: what it writes is as good in reference's eyes, but for what rounding a logit to BF16 twice can do."""
    parted = places = 0
    for length in LENGTHS:
        text = prompt(length)
        expected = await on_thread(reference.prefill, text, reference.text(length), last=length)
        found = await on_thread(fast.prefill, text, fast.text(length), last=length)
        best, chosen = (
            expected.max(-1).values.float(),
            expected.gather(-1, found.argmax(-1, keepdim=True))[:, 0].float(),
        )
        parted += int((best - chosen > 2**-6 * best.abs()).sum())
        places += length
    assert parted <= MOST_PARTED * places
