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
from zipmoe.inference.model.rotary import Turns
from zipmoe.inference.model.router import Router
from zipmoe.inference.model.span import Span
from zipmoe.inference.model.weight import DenseWeights, ExpertWeights, PackedExpert

# Activations [T, width] of T tokens, in an arithmetic's own kind of array. `add` and `rotate` may overwrite their x:
# use what they return.
Rows: TypeAlias = Any

Integers = NDArray[np.int64]
Shares = NDArray[np.float32]


class Arithmetic(Protocol):
    name: str
    # Whether a prompt may go through the model in pieces, and share what another has left in the cache: the bits of its
    # rows may then differ.
    divides: bool

    def prepare(self, dense: DenseWeights) -> DenseWeights:
        """The weights in the arithmetic's own kind of array, sharing their memory."""

    def grouped(self, spans: Sequence[Span]) -> Sequence[Sequence[Span]]:
        """In the same order; the rows of a group are multiplied together."""

    def embed(self, tokens: Integers, weight: Any) -> Rows:
        """The rows of weight [V, H] that tokens [T] name: [T, H]."""

    def linear(self, x: Rows, weight: Any, bias: Any = None) -> Rows:
        """x [T, K] times weight [N, K] transposed, plus bias [N]: [T, N]."""

    def linears(self, x: Rows, weights: Sequence[tuple[Any, Any]]) -> Sequence[Rows]:
        """`linear` of x with each (weight, bias)."""

    def norm(self, x: Rows, weight: Any, epsilon: float) -> Rows:
        """Root mean square norm (Zhang and Sennrich, 2019) of x [T, n·W], each W by itself, times weight [W]."""

    def centred_norm(self, x: Rows, weight: Any, bias: Any, epsilon: float) -> Rows:
        """Layer norm (Ba et al., 2016) of x [T, W], times weight [W], plus bias [W]."""

    def clip(self, x: Rows, bound: float) -> Rows: ...

    def wide_linear(self, x: Rows, weight: Any) -> Tensor:
        """x [T, K] times weight [N, K] transposed, all in FP32: [T, N]."""

    def part(self, x: Rows, start: int, end: int | None) -> Rows:
        """Some of the columns of x."""

    def join(self, x: Rows, other: Rows) -> Rows:
        """The columns of x and behind them those of the other."""

    def rotate(self, x: Rows, heads: int, turns: Turns, start: int = 0) -> Rows:
        """Turns x [T, N·D] by its positions: of each head what lies from `start` on, as much as turns."""

    def attend(
        self,
        query: Rows,
        key: Rows,
        value: Rows,
        heads: int,
        scale: float,
        spans: Sequence[Span],
        cache: KVCache,
        layer: int,
    ) -> Rows:
        """Puts keys [T, M·D] and values [T, M·V] into the cache's layer; causal attention of query [T, N·D], whose rows
        are the spans', each over its own sequence: [T, N·V].

        Each of the M heads of keys serves N / M heads of queries, in order. Scores are times `scale`."""

    def attend_latent(
        self,
        query: Rows,
        latent: Rows,
        expand: Any,
        heads: int,
        plain: int,
        scale: float,
        spans: Sequence[Span],
        cache: KVCache,
        layer: int,
    ) -> Rows:
        """The same over latents [T, rank + R], which are all that the cache keeps. Of query [T, N·(plain + R)], what is
        plain meets what `expand` [N·(plain + V), rank] makes of the latent's first part, the rest its second: [T, N·V].
        """

    def add(self, x: Rows, other: Rows) -> Rows: ...

    def scale(self, x: Rows, factor: float) -> Rows: ...

    def gated(self, gate: Rows, up: Rows) -> Rows:
        """silu(gate) * up."""

    def dampen(self, x: Rows, logits: Rows) -> Rows:
        """x [T, W] times the sigmoid of logits [T, 1]."""

    def route(self, logits: Rows | Tensor, router: Router) -> tuple[Integers, Shares]:
        """The k experts [T, k] of each token and their gate weights [T, k], from router logits [T, experts]."""

    def take(self, x: Rows, places: Integers) -> Rows:
        """Some rows of x."""

    def experts(self, work: Sequence[tuple[Rows, ExpertWeights]]) -> Sequence[Rows]:
        """silu(x·gate) * (x·up) · down for x [T, H] and the weights of each: [T, H]."""

    def mix(self, x: Rows, parts: Sequence[tuple[Integers, Shares, Rows]]) -> Rows:
        """Experts' outputs, each for some rows of x, weighted and added up in this order: like x."""

    def mixture(self, x: Rows, experts: Integers, shares: Shares, layer: Sequence[PackedExpert]) -> Rows:
        """Both at once, where all experts of a layer are at hand: like x [T, H], for experts [T, k] by their numbers
        there and shares [T, k]."""

    def logits(self, x: Rows, divisor: float) -> Tensor: ...
