"""Routing: which experts the tokens of some requests wanted, one request after the other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Routing:
    """`chosen` [T, L, k] are the experts of each token in each layer, numbered within it."""

    experts: int
    chosen: NDArray[np.int64]

    @property
    def tokens(self) -> int:
        return len(self.chosen)

    @property
    def layers(self) -> int:
        return int(self.chosen.shape[1])

    @property
    def k(self) -> int:
        return int(self.chosen.shape[2])

    def numbered(self) -> NDArray[np.int64]:
        """[T, L, k], numbered across the layers."""
        return self.chosen + self.experts * np.arange(self.layers)[:, None]

    def side_by_side(self, batch: int) -> NDArray[np.int64]:
        """[steps, batch, L, k]: as if `batch` sequences had been decoded at once, each a run of the tokens."""
        steps = self.tokens // batch
        return self.chosen[: steps * batch].reshape(batch, steps, self.layers, self.k).swapaxes(0, 1)
