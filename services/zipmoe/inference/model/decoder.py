"""Decoder: a stack of layers, attention and feed-forward with a norm before each. What families share; each says in a
file of its own what its layers are made of.

The decoder is without its experts: those are asked for, layer by layer, from the mixture it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zipmoe.inference.model.arithmetic import Arithmetic, Rows
from zipmoe.inference.model.attention import Attention, Projection
from zipmoe.inference.model.feedforward import Dense, Sparse
from zipmoe.inference.model.forecast import Forecast
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.mixture import Mixture
from zipmoe.inference.model.rotary import Rotary


@dataclass(frozen=True, slots=True)
class Config:
    """What the engine needs to know. `kv_heads` of `width` are what a token keeps in each layer."""

    context: int
    vocabulary: int
    experts_per_token: int
    kv_heads: int
    width: int


@dataclass(frozen=True, slots=True)
class Norm:
    weight: Any
    bias: Any = None


@dataclass(frozen=True, slots=True)
class Layer:
    attention_norm: Norm
    attention: Attention
    feed_norm: Norm
    feed: Dense | Sparse


@dataclass(frozen=True, slots=True)
class Scales:
    """Factors of Granite's: of the embedding, of what each block adds, and what logits are divided by."""

    embedding: float = 1.0
    residual: float = 1.0
    logits: float = 1.0


@dataclass(frozen=True, slots=True)
class Stack:
    """All that a decoder is made of, in the arithmetic's own kind of arrays."""

    embedding: Any
    layers: Sequence[Layer]
    norm: Norm
    head: Projection
    epsilon: float
    rotary: Rotary
    scales: Scales = Scales()


class Decoder:
    def __init__(self, config: Config, stack: Stack, arithmetic: Arithmetic, forecast: Forecast | None = None) -> None:
        """With a `forecast`, the mixture is told what the next layers will probably want."""
        self.config = config
        self.arithmetic = arithmetic
        self._stack = stack
        self._forecast = forecast

    def cache(self, capacity: int) -> KVCache:
        config = self.config
        return self.arithmetic.cache(len(self._stack.layers), config.kv_heads, config.width, capacity)

    @torch.inference_mode()
    def forward(self, tokens: Tensor, cache: KVCache, mixture: Mixture, last: int = 1) -> Tensor:
        """Runs tokens [T], which follow those in the cache, and returns logits [last, vocabulary] of the last ones."""
        do, stack, sparse = self.arithmetic, self._stack, 0
        x = do.scale(do.embed(tokens, stack.embedding), stack.scales.embedding)
        for index, layer in enumerate(stack.layers):
            attended = layer.attention(do, self._norm(x, layer.attention_norm), stack.rotary, cache, index)
            x = do.add(x, do.scale(attended, stack.scales.residual))
            normed = self._norm(x, layer.feed_norm)
            if isinstance(layer.feed, Dense):
                made = layer.feed(do, normed)
            else:
                made = self._mix(sparse, layer.feed, x, normed, mixture)
                sparse += 1
            x = do.add(x, do.scale(made, stack.scales.residual))
        cache.advance(len(tokens))
        logits = do.linear(self._norm(x, stack.norm)[-last:], stack.head.weight, stack.head.bias)
        return do.logits(logits, stack.scales.logits)

    def _mix(self, sparse: int, feed: Sparse, x: Rows, normed: Rows, mixture: Mixture) -> Rows:
        """Of the layer that is so manieth of those with experts."""
        do = self.arithmetic
        # Before the experts, whose sum may take the place of what it is computed from.
        shared = feed.shared(do, normed) if feed.shared else None
        chosen = do.route(do.linear(normed, feed.weight), feed.router)
        later = self._forecast(sparse, x) if self._forecast else None
        made = mixture(sparse, normed, *chosen, later)
        return made if shared is None else do.add(made, shared)

    def _norm(self, x: Rows, norm: Norm) -> Rows:
        if norm.bias is None:
            return self.arithmetic.norm(x, norm.weight, self._stack.epsilon)
        return self.arithmetic.centred_norm(x, norm.weight, norm.bias, self._stack.epsilon)
