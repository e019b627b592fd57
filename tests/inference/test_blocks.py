"""Blocks: each is transformers' own module, bit for bit, on random BF16."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask

from tests.inference.family import EXPERTS, HEADS, HIDDEN, TOP, WIDTH, config, noise, same_bits, theirs
from zipmoe.inference.model.blocks import rms_norm, rotate
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.reference import Reference
from zipmoe.inference.model.rotary import Rotary, frequencies
from zipmoe.inference.model.router import SoftmaxTopK
from zipmoe.inference.model.span import Span

# Prompts, a chunk behind a prompt, tokens one by one.
CHUNKS = [[1], [7], [33], [7, 1, 1, 1], [16, 9, 1], [1, 1, 5]]


@pytest.mark.parametrize("tokens", [1, 2, 17])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_rms_norm(tokens: int, scale: float) -> None:
    norm = theirs.OlmoeRMSNorm(HIDDEN, eps=1e-5).to(torch.bfloat16)
    norm.weight = nn.Parameter(noise(1, HIDDEN))
    x = noise(2, tokens, HIDDEN, scale=scale)
    assert same_bits(rms_norm(x, norm.weight, 1e-5), norm(x))


@pytest.mark.parametrize(("start", "tokens"), [(0, 1), (0, 128), (127, 1), (50, 13)])
def test_rotary(start: int, tokens: int) -> None:
    x = noise(3, HEADS, tokens, WIDTH)
    positions = torch.arange(start, start + tokens)[None]
    expected = theirs.OlmoeRotaryEmbedding(config())(x, positions)
    ours = Rotary(frequencies(WIDTH, config().rope_parameters["rope_theta"])).at(
        positions[0].numpy(), positions[0].numpy() + 1
    )
    assert all(same_bits(mine, its[0]) for mine, its in zip((ours.cosines, ours.sines), expected, strict=True))
    rotated, _ = theirs.apply_rotary_pos_emb(x[None], x[None], *expected)
    assert same_bits(rotate(x, ours), rotated[0])


@pytest.mark.parametrize("kv_heads", [HEADS, 2, 1])
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_attend_with_cached_keys(kv_heads: int, chunks: list[int]) -> None:
    module = theirs.OlmoeAttention(config(kv_heads), 0).eval()
    do, their_cache = Reference(threads=2), DynamicCache(config=module.config)
    our_cache, start, pages = KVCache.of(1, kv_heads * WIDTH, kv_heads * WIDTH, 4), 0, np.array([3, 0, 2], np.int32)
    for seed, tokens in enumerate(chunks):
        query = noise(3 * seed, HEADS, tokens, WIDTH)
        key, value = (noise(3 * seed + part, kv_heads, tokens, WIDTH) for part in (1, 2))
        embeddings = torch.empty(1, tokens, HIDDEN, dtype=torch.bfloat16)
        mask = create_causal_mask(module.config, embeddings, None, their_cache)
        seen = their_cache.update(key[None], value[None], 0)
        expected, _ = theirs.eager_attention_forward(module, query[None], *seen, mask, scaling=module.scaling)
        spans = [Span(np.zeros(tokens, np.int64), start, pages)]
        ours = do.attend(flat(query), flat(key), flat(value), HEADS, module.scaling, spans, our_cache, 0)
        start += tokens
        assert same_bits(ours, expected[0].reshape(tokens, -1))


def flat(heads: Tensor) -> Tensor:
    """[N, T, D] -> [T, N·D]"""
    return heads.transpose(0, 1).flatten(1)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("tokens", [1, 2, 40])
def test_route(normalise: bool, tokens: int) -> None:
    router = theirs.OlmoeTopKRouter(config(normalise=normalise)).to(torch.bfloat16)
    router.weight = nn.Parameter(noise(4, EXPERTS, HIDDEN, scale=0.3))
    logits, weights, experts = router(noise(5, tokens, HIDDEN))
    our_experts, our_weights = SoftmaxTopK(TOP, normalise)(logits)
    assert torch.equal(our_experts, experts)
    assert same_bits(our_weights, weights)
