"""Decoder: a stack of layers, attention and feed-forward with a norm before each. What families share; each says in a
file of its own what its layers are made of.

The decoder is without its experts: those are asked for, layer by layer, from the mixture it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zipmoe.inference.model.arithmetic import Arithmetic, Rows
from zipmoe.inference.model.attention import Attention, Projection
from zipmoe.inference.model.feedforward import Dense, Sparse
from zipmoe.inference.model.forecast import Forecast
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.latent import LatentAttention
from zipmoe.inference.model.mixture import Mixture, Routed
from zipmoe.inference.model.rotary import Rotary
from zipmoe.inference.model.span import Group, Span


@dataclass(frozen=True, slots=True)
class Config:
    """What the engine needs to know. A token keeps `kv_heads` keys and values in each layer."""

    context: int
    vocabulary: int
    experts_per_token: int
    kv_heads: int
    key_width: int
    value_width: int


@dataclass(frozen=True, slots=True)
class Norm:
    weight: Any
    bias: Any = None


@dataclass(frozen=True, slots=True)
class Layer:
    attention_norm: Norm
    attention: Attention | LatentAttention
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

    @property
    def border(self) -> int | None:
        """Of a prompt of more tokens than this, keys are others than of one of fewer that begins alike."""
        longer = self._stack.rotary.longer
        return None if longer is None else longer.border

    def cache(self, pages: int) -> KVCache:
        """For all sequences together."""
        config = self.config
        key_width, value_width = config.kv_heads * config.key_width, config.kv_heads * config.value_width
        return KVCache.of(len(self._stack.layers), key_width, value_width, pages)

    @torch.inference_mode()
    def forward(self, spans: Sequence[Span], cache: KVCache, mixture: Mixture) -> list[Tensor]:
        """Runs the spans, each of a sequence of its own, and returns logits [last, vocabulary] of each."""
        do, stack, sparse = self.arithmetic, self._stack, 0
        groups = [Group.of(together) for together in do.grouped(spans)]
        turns = [stack.rotary.at(group.positions, group.lengths) for group in groups]
        streams = [do.scale(do.embed(group.tokens, stack.embedding), stack.scales.embedding) for group in groups]
        for index, layer in enumerate(stack.layers):
            for place, group in enumerate(groups):
                normed = self._norm(streams[place], layer.attention_norm)
                attended = layer.attention(do, normed, turns[place], group.spans, cache, index)
                streams[place] = do.add(streams[place], do.scale(attended, stack.scales.residual))
            normed = [self._norm(x, layer.feed_norm) for x in streams]
            if isinstance(layer.feed, Dense):
                made: Sequence[Rows] = [layer.feed(do, x) for x in normed]
            else:
                made = self._mix(sparse, layer.feed, streams, normed, mixture)
                sparse += 1
            streams = [do.add(x, do.scale(more, stack.scales.residual)) for x, more in zip(streams, made, strict=True)]
        return [
            logits
            for group, x in zip(groups, streams, strict=True)
            for logits in self._logits(do.take(x, group.wanted)).tensor_split(group.borders)
        ]

    def _mix(
        self, sparse: int, feed: Sparse, streams: Sequence[Rows], normed: Sequence[Rows], mixture: Mixture
    ) -> Sequence[Rows]:
        """Of the layer that is so manieth of those with experts."""
        do = self.arithmetic
        # Before the experts, whose sum may take the place of what it is computed from.
        shared = [feed.shared(do, x) for x in normed] if feed.shared else None
        score = do.wide_linear if feed.wide else do.linear
        routed = [Routed(x, *do.route(score(x, feed.weight), feed.router)) for x in normed]
        foretell = partial(self._forecast, sparse, streams) if self._forecast else None
        made = mixture(sparse, routed, foretell)
        return made if shared is None else [do.add(x, more) for x, more in zip(made, shared, strict=True)]

    def _logits(self, x: Rows) -> Tensor:
        stack, do = self._stack, self.arithmetic
        if not len(x):
            return torch.empty(0, self.config.vocabulary, dtype=torch.bfloat16)
        return do.logits(do.linear(self._norm(x, stack.norm), stack.head.weight, stack.head.bias), stack.scales.logits)

    def _norm(self, x: Rows, norm: Norm) -> Rows:
        if norm.bias is None:
            return self.arithmetic.norm(x, norm.weight, self._stack.epsilon)
        return self.arithmetic.centred_norm(x, norm.weight, norm.bias, self._stack.epsilon)
