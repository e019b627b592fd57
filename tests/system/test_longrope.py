"""LongRoPE, through the engine: texts on both sides of the border, that cross it, share, wait and are computed anew."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import DynamicCache

from tests.system.eager import eager
from tests.system.families import BORDER, COMMON, write_checkpoint
from tests.system.local_model import LocalModel
from tests.system.stack import Stack
from zipmoe.inference.batch import CHUNK
from zipmoe.inference.engine import Engine
from zipmoe.inference.model.kv_cache import pages_for
from zipmoe.inference.sampling import Sampled, Sampling
from zipmoe.inference.sequence import Usage
from zipmoe.pack.writer import pack

LENGTHS = [1, 30, BORDER - 10, BORDER - 1, BORDER, BORDER + 1, 100, 200]
WRITTEN, BEST = 20, 5
# Between logprobs: what other sums make of the same keys is some 0.03 from transformers'. Where keys were turned by the
# length of a piece, or were those of a text on the other side, it is 0.2 and more.
MOST_APART = 0.1


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("longrope") / "checkpoint"
    write_checkpoint("phimoe, stretched", folder)
    return folder


@pytest.fixture(scope="module")
def stack(checkpoint: Path) -> Iterator[Stack]:
    packed = checkpoint.with_name("packed.zipmoe")
    pack(checkpoint, packed)
    with Stack(packed, arena_size="25%") as stack:
        yield stack.start("expert_store", "scheduler")


@pytest.fixture(scope="module")
def theirs(checkpoint: Path) -> Any:
    return eager(checkpoint)


@asynccontextmanager
async def engine(model: LocalModel, tokenizer: Tokenizer, tokens: int) -> AsyncIterator[Engine]:
    """With room for the keys and values of so many tokens."""
    made = Engine(model.model, model.experts, tokenizer, frozenset(), pages_for(tokens), most_running=16)
    async with made.running():
        yield made


async def generate(engine: Engine, prompt: list[int]) -> tuple[list[Sampled], Usage]:
    written, usage = list[Sampled](), None
    async for delta in engine.generate(prompt, Sampling(max_tokens=WRITTEN, logprobs=BEST)):
        written += delta.tokens
        usage = delta.usage or usage
    assert usage is not None
    return written, usage


def prompt(length: int) -> list[int]:
    """All begin alike."""
    return torch.randint(COMMON["vocab_size"], (length,), generator=torch.Generator().manual_seed(7)).tolist()


def expected(theirs: Any, prompt: Sequence[int]) -> list[tuple[int, list[float]]]:
    """The tokens that transformers writes over a cache, and the best logprobs at each."""
    step, seen, found = torch.tensor([prompt]), DynamicCache(), []
    for _ in range(WRITTEN):
        with torch.inference_mode():
            logits = theirs(step, past_key_values=seen).logits[0, -1]
        step = logits.argmax()[None, None]
        found.append((int(step), logits.float().log_softmax(-1).topk(BEST).values.tolist()))
    return found


def said(written: Sequence[Sampled]) -> list[tuple[int, list[float]]]:
    return [(some.token, [logprob for _, logprob in some.likeliest]) for some in written]


@pytest.mark.parametrize("tokens", [2000, 300], ids=["pages for all", "few pages"])
async def test_in_reference_mode_each_text_is_transformers_own(
    reference: LocalModel, theirs: Any, tokenizer: Tokenizer, tokens: int
) -> None:
    prompts = [prompt(length) for length in LENGTHS]
    async with engine(reference, tokenizer, tokens) as made:
        served = await asyncio.gather(*(generate(made, each) for each in prompts))
        again = made.tokens > sum(LENGTHS) + len(LENGTHS) * (WRITTEN - 1)
    assert again == (tokens == 300), "computed anew, where pages are few"
    for each, (written, _) in zip(prompts, served, strict=True):
        assert said(written) == expected(theirs, each), f"prompt of {len(each)} tokens"


async def test_in_fast_mode_pieces_and_shared_pages_change_no_more_than_rounding(
    fast: LocalModel, theirs: Any, tokenizer: Tokenizer
) -> None:
    lengths, apart, first = [400, *range(BORDER - 4, BORDER + 20, 3), 150, CHUNK + 1, 300], list[float](), set[int]()
    async with engine(fast, tokenizer, 2000) as made:
        for length in lengths:
            written, usage = await generate(made, prompt(length))
            (_, best), (_, ours) = expected(theirs, prompt(length))[0], said(written)[0]
            apart.append(max(abs(one - other) for one, other in zip(best, ours, strict=True)))
            if not usage.reused_tokens:
                first.add(length)
    assert first == {400, BORDER - 4}, "a prompt begins with pages of those on its side of the border, and no others"
    print(f"\nlogprobs are {median(apart):.3f} apart")
    assert median(apart) < MOST_APART
