"""Rotary: rotary position embedding (Su et al., 2021), in the forms that checkpoints come in."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Positions that are computed at a time.
AHEAD: Final = 256


class Pairs(Enum):
    """Which two numbers of a head turn together, and where they lie afterwards."""

    HALVES = "one of the first half and one of the second, where they were"
    NEIGHBOURS = "neighbours, where they were; computed in FP32"
    PARTED = "neighbours; their firsts then lie before their seconds"


@dataclass(frozen=True)
class Turns:
    """Cosines and sines [T, R] of T positions in BF16, for the R numbers of a head that turn; or in FP32 [T, R/2]."""

    cosines: Tensor
    sines: Tensor
    pairs: Pairs

    @cached_property
    def words(self) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Those in BF16: made once a step, wanted twice a layer."""
        cosines, sines = (part.view(torch.uint16).numpy() for part in (self.cosines, self.sines))
        return cosines, sines


@dataclass(frozen=True, slots=True)
class Longer:
    """What turns the tokens of sequences of more than `border`."""

    border: int
    rotary: "Rotary"


class Rotary:
    """`frequencies` [R/2]; what is turned is also times `scale`. With `longer`, that is so in short sequences alone.

    What counts is the length that a sequence has as its tokens go through the model. All of a prompt's tokens turn by
    the whole prompt's length, in however many pieces they go; one that is written turns by its own place. When a
    sequence grows past the border, its keys stay as they were turned, as in transformers' forward over a cache. So a
    key follows from its place and its prompt's length alone: it comes out the same when its sequence is computed anew,
    and whoever is in the batch (of a padded one, transformers turns all by the longest).
    """

    def __init__(
        self, frequencies: Tensor, scale: float = 1.0, pairs: Pairs = Pairs.HALVES, longer: Longer | None = None
    ) -> None:
        self.longer = longer
        self._frequencies = frequencies
        self._scale = scale
        self._pairs = pairs
        self._known = self._turns(np.arange(0))

    def at(self, positions: NDArray[np.int64], lengths: NDArray[np.int64]) -> Turns:
        """Of tokens whose sequences have such lengths."""
        turns = self._looked_up(positions)
        if self.longer is None:
            return turns
        beyond = torch.from_numpy(lengths > self.longer.border)[:, None]
        others = self.longer.rotary.at(positions, lengths)
        cosines = torch.where(beyond, others.cosines, turns.cosines)
        return Turns(cosines, torch.where(beyond, others.sines, turns.sines), self._pairs)

    def _looked_up(self, positions: NDArray[np.int64]) -> Turns:
        """All up to the furthest are computed before, some more each time: for one token, that is quicker by far."""
        far, known = int(positions.max(initial=-1)) + 1, len(self._known.cosines)
        if far > known:
            self._known = self._turns(np.arange(max(2 * known, -(-far // AHEAD) * AHEAD)))
        places = torch.from_numpy(positions)
        return Turns(self._known.cosines[places], self._known.sines[places], self._pairs)

    def _turns(self, positions: NDArray[np.int64]) -> Turns:
        """Computed as transformers does: in FP32, each position for itself."""
        angles = torch.from_numpy(positions)[:, None].float() * self._frequencies
        if self._pairs is Pairs.NEIGHBOURS:
            turns = torch.polar(torch.ones_like(angles), angles) * self._scale
            return Turns(turns.real, turns.imag, self._pairs)
        angles = torch.cat((angles, angles), dim=-1)
        cosines, sines = ((each * self._scale).to(torch.bfloat16) for each in (angles.cos(), angles.sin()))
        return Turns(cosines, sines, self._pairs)


def frequencies(width: int, base: float) -> Tensor:
    """Of `width` numbers that turn: [width / 2]."""
    return 1.0 / _wavelengths(width, base)


def longrope(width: int, base: float, factors: Sequence[float]) -> Tensor:
    """The same, each so many times as slow (LongRoPE, Ding et al., 2024)."""
    return 1.0 / (torch.tensor(factors, dtype=torch.float32) * _wavelengths(width, base))


def yarn(width: int, base: float, context: int, told: Mapping[str, Any]) -> tuple[Tensor, float]:
    """Frequencies for longer texts than a model was trained on, and what they are scaled by (YaRN, Peng et al., 2023):
    what turns fast stays, what turns slowly is stretched, in between goes over. `told` is config.json's."""
    trained = told.get("original_max_position_embeddings") or context
    factor = told.get("factor") or context / trained

    def turning(times: float) -> float:
        """The place of the frequency that turns so often in the context it was trained on."""
        return (width * math.log(trained / (times * 2 * math.pi))) / (2 * math.log(base))

    low, high = turning(told.get("beta_fast") or 32), turning(told.get("beta_slow") or 1)
    if told.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    span = high - low or 0.001
    stretched = 1 - torch.clamp((torch.arange(width // 2, dtype=torch.float32) - low) / span, 0, 1)
    wavelengths = _wavelengths(width, base)
    found = 1.0 / (factor * wavelengths) * (1 - stretched) + 1.0 / wavelengths * stretched
    scale = told.get("attention_factor")
    if scale is None:
        one, all_ = told.get("mscale"), told.get("mscale_all_dim")
        scale = magnitude(factor, one) / magnitude(factor, all_) if one and all_ else magnitude(factor)
    return found, float(scale)


def magnitude(factor: float, weight: float = 1.0) -> float:
    """By how much YaRN sharpens attention over a context that is so many times as long."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def _wavelengths(width: int, base: float) -> Tensor:
    """Positions to a radian."""
    return base ** (torch.arange(0, width, 2, dtype=torch.float) / width)
