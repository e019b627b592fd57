"""Fast: between matrices, its words are reference's, bit for bit; only sums may differ, and those in the last place."""

import pytest
import torch
from torch import Tensor

from tests.inference.family import noise
from zipmoe.inference.model.fast import Fast, tensor, words
from zipmoe.inference.model.reference import Reference
from zipmoe.inference.model.rotary import Rotary

HEADS, WIDTH, EXPERTS = 4, 32, 16
FAST, REFERENCE = Fast(threads=2), Reference(threads=2)


def same(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and torch.equal(ours, theirs)


@pytest.mark.parametrize("tokens", [1, 2, 17])
def test_what_is_between_matrices_is_the_same(tokens: int) -> None:
    x, other, weight = noise(1, tokens, HEADS * WIDTH), noise(2, tokens, HEADS * WIDTH), noise(3, HEADS * WIDTH)
    rotary = Rotary(WIDTH, 128, 10_000.0)
    assert same(tensor(FAST.norm(words(x), words(weight[None]), 1e-5)), REFERENCE.norm(x, weight, 1e-5))
    assert same(tensor(FAST.clip(words(x), 0.5)), REFERENCE.clip(x, 0.5))
    assert same(tensor(FAST.rotate(words(x.clone()), HEADS, rotary, 7)), REFERENCE.rotate(x, HEADS, rotary, 7))
    assert same(tensor(FAST.add(words(x.clone()), words(other))), REFERENCE.add(x, other))


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("tokens", [1, 2, 17])
def test_routes_alike(tokens: int, normalise: bool) -> None:
    """Where no two logits are equal: whom torch takes then, it does not say."""
    generator = torch.Generator().manual_seed(tokens)
    logits = torch.stack([torch.randperm(EXPERTS, generator=generator) for _ in range(tokens)]).bfloat16() / 4
    experts, shares = FAST.route(words(logits), 4, normalise)
    their_experts, their_shares = REFERENCE.route(logits, 4, normalise)
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
def test_attends_alike(key_heads: int, chunks: list[int]) -> None:
    caches = [do.cache(2, key_heads, WIDTH, sum(chunks)) for do in (FAST, REFERENCE)]
    for seed, tokens in enumerate(chunks):
        query = noise(3 * seed, tokens, HEADS * WIDTH)
        key, value = (noise(3 * seed + part, tokens, key_heads * WIDTH) for part in (1, 2))
        ours = FAST.attend(words(query), words(key), words(value), HEADS, caches[0], 1)
        theirs = REFERENCE.attend(query, key, value, HEADS, caches[1], 1)
        for cache in caches:
            cache.advance(tokens)
        assert (tensor(ours) == theirs).float().mean() > 0.98
        torch.testing.assert_close(tensor(ours), theirs, rtol=2**-7, atol=2**-8)
