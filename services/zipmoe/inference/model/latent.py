"""Latent attention: multi-head latent attention (DeepSeek-AI, 2024), whose cache has one narrow row a token for all
heads: what keys and values of every head are expanded from, and behind it a key that all heads share and turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zipmoe.inference.model.arithmetic import Arithmetic, Rows
from zipmoe.inference.model.attention import Projection
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.rotary import Turns
from zipmoe.inference.model.span import Span

# Of the norms within, whatever config.json says of the others.
EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Of one layer. A head's query and key have `plain` numbers and behind them those that turn. The latent has `rank`,
    and `expand` [N·(plain + V), rank] makes a head's plain key and its value of it. `narrow` and its norm, where the
    query goes through a narrow place as well."""

    heads: int
    plain: int
    rank: int
    scale: float
    query: Projection
    latent: Projection
    latent_norm: Any
    expand: Any
    output: Projection
    narrow: Projection | None = None
    narrow_norm: Any = None

    def __call__(
        self, do: Arithmetic, x: Rows, turns: Turns, spans: Sequence[Span], cache: KVCache, layer: int
    ) -> Rows:
        within = x
        if self.narrow is not None:
            within = do.norm(do.linear(x, self.narrow.weight, self.narrow.bias), self.narrow_norm, EPSILON)
        query = do.rotate(do.linear(within, self.query.weight, self.query.bias), self.heads, turns, start=self.plain)
        rows = do.linear(x, self.latent.weight, self.latent.bias)
        latent = do.join(
            do.norm(do.part(rows, 0, self.rank), self.latent_norm, EPSILON),
            do.rotate(do.part(rows, self.rank, None), 1, turns),
        )
        attended = do.attend_latent(query, latent, self.expand, self.heads, self.plain, self.scale, spans, cache, layer)
        return do.linear(attended, self.output.weight, self.output.bias)
