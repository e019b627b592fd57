"""Forecast: which experts later layers will probably want, told while an earlier one is computed.

A layer changes the stream little, so what a later layer's router says to it now is near to what it will say then. It is
a guess: experts are read ahead by it, and no result depends on it.

T tokens, H hidden width, E experts a layer, k experts a token, D layers ahead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zipmoe.inference.model.arithmetic import Arithmetic, Integers, Rows, Shares
from zipmoe.inference.model.router import SoftmaxTopK
from zipmoe.inference.model.weight import DenseWeights, Weight, unpacked

# How many times as likely as the best of those not chosen an expert must be for its choice to be sure. What does not
# come true is read for nothing and drives out another. Of experts that have rested for six tokens and so may be absent,
# 59 % of the choices come true and 73 % of the sure ones (the demo model; 71 and 87 % with `zipmoe synth` like
# olmoe-1b-7b), and three in four of those that come true are sure.
SURE: Final = 1.5


@dataclass(frozen=True, slots=True)
class Expected:
    """Experts [T, D, k] that D layers, nearest first, will probably want of T tokens, likeliest first; and whether that
    is sure enough to read them [T, D, k]."""

    experts: Integers
    sure: NDArray[np.bool_]


class Forecast:
    def __init__(
        self, arithmetic: Arithmetic, routers: Sequence[tuple[Weight, Tensor]], k: int, epsilon: float, depth: int
    ) -> None:
        """For all layers with experts, in order: the router [E, H] and the weight [H] of the norm before it, as
        checkpoints have them. `depth` is the most layers ahead."""
        # A norm's weight may as well be the router's: then all routers take the same rows, and one product does.
        folded = [unpacked(router, 1) * weight for router, weight in routers]
        self._experts, hidden = folded[0].shape
        ones = torch.ones(hidden, dtype=torch.bfloat16)
        prepared = arithmetic.prepare(DenseWeights({"routers": torch.cat(folded)}, {"ones": ones}))
        self._routers: Any = prepared.matrices["routers"]
        self._ones: Any = prepared.vectors["ones"]
        self._arithmetic = arithmetic
        # One more than is wanted: how much better the others are than the best that is not.
        self._router = SoftmaxTopK(k + 1)
        self._epsilon = epsilon
        self._depth = depth

    def __call__(self, layer: int, streams: Sequence[Rows]) -> Expected | None:
        """What the next layers would choose for the rows of x [T, H] of each group, the stream before the output of
        this layer's experts. None after the last layer, and D is less shortly before it."""
        first = (layer + 1) * self._experts
        routers = self._routers[first : first + self._depth * self._experts]
        if not len(routers):
            return None
        chosen, shares = (
            np.concatenate(parts) for parts in zip(*(self._one(x, routers) for x in streams), strict=True)
        )
        return Expected(chosen[..., :-1], shares[..., :-1] >= SURE * shares[..., -1:])

    def _one(self, x: Rows, routers: Any) -> tuple[Integers, Shares]:
        """Experts and their shares, each [T, D, k + 1]."""
        do = self._arithmetic
        logits = do.linear(do.norm(x, self._ones, self._epsilon), routers)
        chosen, shares = do.route(logits.reshape(-1, self._experts), self._router)
        size = (len(x), -1, self._router.k)
        return chosen.reshape(size), shares.reshape(size)
