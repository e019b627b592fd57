"""Attention: grouped-query attention (Ainslie et al., 2023) over rotary positions, with what families add to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zipmoe.inference.model.arithmetic import Arithmetic, Rows
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.rotary import Turns
from zipmoe.inference.model.span import Span


@dataclass(frozen=True, slots=True)
class Projection:
    """A weight [out, in], and a bias [out] where the family has one."""

    weight: Any
    bias: Any = None


@dataclass(frozen=True, slots=True)
class Attention:
    """Of one layer: `heads` of queries, `kv_heads` of keys and values. Queries and keys may be normed, over all heads
    together or each by itself: what a norm's weight is as wide as. What is normed may be clipped. Scores are times
    `scale`."""

    heads: int
    kv_heads: int
    scale: float
    query: Projection
    key: Projection
    value: Projection
    output: Projection
    query_norm: Any = None
    key_norm: Any = None
    epsilon: float = 0.0
    clip: float | None = None

    def __call__(
        self, do: Arithmetic, x: Rows, turns: Turns, spans: Sequence[Span], cache: KVCache, layer: int
    ) -> Rows:
        query, key, value = do.linears(x, [(of.weight, of.bias) for of in (self.query, self.key, self.value)])
        if self.query_norm is not None:
            query, key = do.norm(query, self.query_norm, self.epsilon), do.norm(key, self.key_norm, self.epsilon)
        if self.clip is not None:
            query, key, value = (do.clip(part, self.clip) for part in (query, key, value))
        query, key = do.rotate(query, self.heads, turns), do.rotate(key, self.kv_heads, turns)
        attended = do.attend(query, key, value, self.heads, self.scale, spans, cache, layer)
        return do.linear(attended, self.output.weight, self.output.bias)
