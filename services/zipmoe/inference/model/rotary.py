"""Rotary: the tables of rotary position embedding (Su et al., 2021), half-rotation form, in BF16."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Rotary:
    def __init__(self, width: int, context: int, base: float) -> None:
        frequencies = 1.0 / (base ** (torch.arange(0, width, 2, dtype=torch.float) / width))
        angles = torch.arange(context).float()[:, None] * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        self._cosines = angles.cos().to(torch.bfloat16)
        self._sines = angles.sin().to(torch.bfloat16)
        self._words = [table.view(torch.uint16).numpy() for table in (self._cosines, self._sines)]

    def at(self, start: int, tokens: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, D] of consecutive positions."""
        return self._cosines[start : start + tokens], self._sines[start : start + tokens]

    def words_at(self, start: int, tokens: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """The same, as words."""
        cosines, sines = self._words
        return cosines[start : start + tokens], sines[start : start + tokens]
