"""Routing: which experts the tokens of some requests want, one request after the other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Routing:
    """`chosen` [T, L, k] are the experts of each token in each layer, numbered within it."""

    experts: int
    chosen: NDArray[np.int64]

    @property
    def layers(self) -> int:
        return int(self.chosen.shape[1])

    @property
    def k(self) -> int:
        return int(self.chosen.shape[2])

    def numbered(self) -> NDArray[np.int64]:
        """[T, L, k], numbered across the layers."""
        return self.chosen + self.experts * np.arange(self.layers)[:, None]
