"""Arithmetic: what a decoder is made of, in two ways. Both give BF16, rounded where transformers' eager BF16 rounds.

`Reference` does exactly the calls of transformers' eager implementation, so its logits are bit-identical to it on the
same machine. `Fast` may sum in another order.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.router import Router
from zipmoe.inference.model.rotary import Rotary
from zipmoe.inference.model.weight import DenseWeights, ExpertWeights

# Activations [T, width] of T tokens, in an arithmetic's own kind of array. `add` and `rotate` may overwrite their x:
# use what they return.
Rows: TypeAlias = Any

Integers = NDArray[np.int64]
Shares = NDArray[np.float32]


class Arithmetic(Protocol):
    name: str
    # Tokens of a prompt that go through a layer together, 0 for all of them.
    chunk: int

    def prepare(self, dense: DenseWeights) -> DenseWeights:
        """The weights in the arithmetic's own kind of array, sharing their memory."""

    def cache(self, layers: int, heads: int, width: int, capacity: int) -> KVCache: ...

    def embed(self, tokens: Tensor, weight: Any) -> Rows:
        """The rows of weight [V, H] that tokens [T] name: [T, H]."""

    def linear(self, x: Rows, weight: Any, bias: Any = None) -> Rows:
        """x [T, K] times weight [N, K] transposed, plus bias [N]: [T, N]."""

    def norm(self, x: Rows, weight: Any, epsilon: float) -> Rows:
        """Root mean square norm (Zhang and Sennrich, 2019) of x [T, n·W], each W by itself, times weight [W]."""

    def centred_norm(self, x: Rows, weight: Any, bias: Any, epsilon: float) -> Rows:
        """Layer norm (Ba et al., 2016) of x [T, W], times weight [W], plus bias [W]."""

    def clip(self, x: Rows, bound: float) -> Rows: ...

    def rotate(self, x: Rows, heads: int, rotary: Rotary, start: int) -> Rows:
        """Turns x [T, N·D] by its positions, from `start` on."""

    def attend(
        self, query: Rows, key: Rows, value: Rows, heads: int, cache: KVCache, layer: int, scale: float | None = None
    ) -> Rows:
        """Appends keys and values [T, M·D] to the cache's layer; causal attention of query [T, N·D] over all of them.

        Each of the M heads of keys serves N / M heads of queries, in order. Scores are times `scale`, by default one
        over the root of D."""

    def add(self, x: Rows, other: Rows) -> Rows: ...

    def scale(self, x: Rows, factor: float) -> Rows: ...

    def gated(self, gate: Rows, up: Rows) -> Rows:
        """silu(gate) * up."""

    def dampen(self, x: Rows, logits: Rows) -> Rows:
        """x [T, W] times the sigmoid of logits [T, 1]."""

    def route(self, logits: Rows, router: Router) -> tuple[Integers, Shares]:
        """The k experts [T, k] of each token and their gate weights [T, k], from router logits [T, experts]."""

    def take(self, x: Rows, places: Integers) -> Rows:
        """Some rows of x."""

    def experts(self, work: Sequence[tuple[Rows, ExpertWeights]]) -> Sequence[Rows]:
        """silu(x·gate) * (x·up) · down for x [T, H] and the weights of each: [T, H]."""

    def mix(self, x: Rows, parts: Sequence[tuple[Integers, Shares, Rows]]) -> Rows:
        """Experts' outputs, each for some rows of x, weighted and added up in this order: like x."""

    def logits(self, x: Rows, divisor: float) -> Tensor: ...
