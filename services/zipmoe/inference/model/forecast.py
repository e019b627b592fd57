"""Forecast: which experts later layers will probably want, told while an earlier one is computed.

A layer changes the stream little, so what a later layer's router says to it now is near to what it will say then. It is
a guess: experts are read ahead by it, and no result depends on it.

T tokens, H hidden width, E experts a layer, k experts a token, D layers ahead.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zipmoe.inference.model.arithmetic import Arithmetic, Integers, Rows
from zipmoe.inference.model.weight import DenseWeights, Weight, unpacked


class Forecast:
    def __init__(
        self, arithmetic: Arithmetic, routers: Sequence[tuple[Weight, Tensor]], k: int, epsilon: float, depth: int
    ) -> None:
        """For all layers, in order: the router [E, H] and the weight [H] of the norm before it, as checkpoints have
        them. `depth` is the most layers ahead."""
        # A norm's weight may as well be the router's: then all routers take the same rows, and one product does.
        folded = [unpacked(router, 1) * weight for router, weight in routers]
        self._experts, hidden = folded[0].shape
        ones = torch.ones(hidden, dtype=torch.bfloat16)
        prepared = arithmetic.prepare(DenseWeights({"routers": torch.cat(folded)}, {"ones": ones}))
        self._routers: Any = prepared.matrices["routers"]
        self._ones: Any = prepared.vectors["ones"]
        self._arithmetic = arithmetic
        self._k = k
        self._epsilon = epsilon
        self._depth = depth

    def __call__(self, layer: int, x: Rows) -> Integers | None:
        """The experts [T, D, k] that the next layers, nearest first, would choose for x [T, H], the stream before the
        output of this layer's experts; likeliest first. None after the last layer, and D is less shortly before it."""
        do, first = self._arithmetic, (layer + 1) * self._experts
        routers = self._routers[first : first + self._depth * self._experts]
        if not len(routers):
            return None
        logits = do.linear(do.norm(x, self._ones, self._epsilon), routers)
        chosen, shares = do.route(logits.reshape(-1, self._experts), self._k + 1, False)
        shape = (len(x), -1, self._k + 1)
        self.odds = (shares / shares[:, -1:]).reshape(shape)[..., :-1]
        import os
        M = float(os.environ.get("MARGIN", "0"))
        chosen = chosen.reshape(shape)[..., :-1].copy()
        if len(x) == 1: chosen[self.odds < M] = -1
        return chosen
