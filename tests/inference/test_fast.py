"""Fast: between matrices, its words are reference's, bit for bit; only sums may differ, and those in the last place."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.inference.family import noise
from zipmoe.inference.model.fast import Fast, tensor, words
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.reference import Reference
from zipmoe.inference.model.rotary import Rotary, frequencies
from zipmoe.inference.model.router import SoftmaxTopK
from zipmoe.inference.model.span import Span

HEADS, WIDTH, EXPERTS = 4, 32, 16
FAST, REFERENCE = Fast(threads=2), Reference(threads=2)


def same(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and torch.equal(ours, theirs)


@pytest.mark.parametrize("tokens", [1, 2, 17])
def test_what_is_between_matrices_is_the_same(tokens: int) -> None:
    x, other, weight = noise(1, tokens, HEADS * WIDTH), noise(2, tokens, HEADS * WIDTH), noise(3, HEADS * WIDTH)
    turns = Rotary(frequencies(WIDTH, 10_000.0)).at(np.arange(7, 7 + tokens), np.arange(8, 8 + tokens))
    assert same(tensor(FAST.norm(words(x), words(weight[None]), 1e-5)), REFERENCE.norm(x, weight, 1e-5))
    assert same(tensor(FAST.clip(words(x), 0.5)), REFERENCE.clip(x, 0.5))
    assert same(tensor(FAST.rotate(words(x.clone()), HEADS, turns)), REFERENCE.rotate(x, HEADS, turns))
    assert same(tensor(FAST.add(words(x.clone()), words(other))), REFERENCE.add(x, other))


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("tokens", [1, 2, 17])
def test_routes_alike(tokens: int, normalise: bool) -> None:
    """Where no two logits are equal: whom torch takes then, it does not say."""
    generator = torch.Generator().manual_seed(tokens)
    logits = torch.stack([torch.randperm(EXPERTS, generator=generator) for _ in range(tokens)]).bfloat16() / 4
    router = SoftmaxTopK(4, normalise)
    experts, shares = FAST.route(words(logits), router)
    their_experts, their_shares = REFERENCE.route(logits, router)
    assert experts.tolist() == their_experts.tolist()
    assert shares.tolist() == their_shares.tolist()


def test_experts_are_added_up_alike() -> None:
    x, shares = noise(5, 9, 24), noise(6, 9, 1).float().numpy()[:, 0]
    rows = [torch.tensor(part).numpy() for part in ([0, 3, 8], [3], [1, 2, 3, 8])]
    parts = [(some, shares[: len(some)], noise(7 + i, len(some), 24)) for i, some in enumerate(rows)]
    ours = FAST.mix(words(x), [(some, share, words(output)) for some, share, output in parts])
    assert same(tensor(ours), REFERENCE.mix(x, parts))


@pytest.mark.parametrize("key_heads", [HEADS, 2, 1])
@pytest.mark.parametrize("chunks", [[1], [5, 1, 1], [40, 3, 1]], ids=str)
@pytest.mark.parametrize("value_width", [WIDTH, 20])
def test_attends_alike(key_heads: int, chunks: list[int], value_width: int) -> None:
    """Values may be of another width, and pages lie in any order."""
    caches = [KVCache.of(2, key_heads * WIDTH, key_heads * value_width, 5) for _ in "fr"]
    start, scale, pages = 0, WIDTH**-0.5, np.array([3, 0, 4, 1], np.int32)
    for seed, tokens in enumerate(chunks):
        query = noise(3 * seed, tokens, HEADS * WIDTH)
        key, value = (noise(3 * seed + part, tokens, key_heads * wide) for part, wide in ((1, WIDTH), (2, value_width)))
        spans = [Span(np.zeros(tokens, np.int64), start, pages)]
        ours = FAST.attend(words(query), words(key), words(value), HEADS, scale, spans, caches[0], 1)
        theirs = REFERENCE.attend(query, key, value, HEADS, scale, spans, caches[1], 1)
        start += tokens
        assert (tensor(ours) == theirs).float().mean() > 0.98
        torch.testing.assert_close(tensor(ours), theirs, rtol=2**-7, atol=2**-8)


def test_attends_to_several_sequences_as_to_each_alone() -> None:
    caches = [KVCache.of(1, HEADS * WIDTH, HEADS * WIDTH, 6) for _ in range(2)]
    starts, pages = [0, 0, 0], [np.array(each, np.int32) for each in ([5, 0], [2, 3], [1, 4])]
    for seed, lengths in enumerate(([4, 17, 9], [1, 3, 1])):
        query, key, value = (words(noise(10 * seed + part, sum(lengths), HEADS * WIDTH)) for part in range(3))
        spans = [
            Span(np.zeros(length, np.int64), start, of)
            for length, start, of in zip(lengths, starts, pages, strict=True)
        ]
        together = FAST.attend(query, key, value, HEADS, WIDTH**-0.5, spans, caches[0], 0)
        borders = np.cumsum(lengths)[:-1]
        parts = zip(*(np.split(rows, borders) for rows in (query, key, value)), spans, strict=True)
        alone = [FAST.attend(q, k, v, HEADS, WIDTH**-0.5, [span], caches[1], 0) for q, k, v, span in parts]
        assert (together == np.concatenate(alone)).all()
        starts = lengths
