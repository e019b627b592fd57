"""Weights: matrices as they lie in memory, BF16 tensors or packed and multiplied as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zipmoe import kernels
from zipmoe.kernels import Packed

# Both [rows, columns].
Weight = Tensor | Packed


@dataclass(frozen=True, slots=True)
class PlainExpert:
    """An expert as BF16: gate_up [2I, H], gate's rows before up's, and down [H, I]."""

    gate_up: Tensor
    down: Tensor


class PackedExpert(NamedTuple):
    """The same, packed. A tuple, as kernels take it."""

    gate_up: Packed
    down: Packed


ExpertWeights = PlainExpert | PackedExpert


@dataclass(frozen=True, slots=True)
class DenseWeights:
    """Everything of a model that is not an expert, by its name in the checkpoint."""

    matrices: Mapping[str, Any]  # Weight, or what an arithmetic has made of it
    vectors: Mapping[str, Any]


def plain(vector: Any) -> Tensor:
    """A vector of dense weights in FP32, whatever an arithmetic has made of it."""
    if isinstance(vector, np.ndarray):
        vector = torch.from_numpy(vector).view(torch.bfloat16)[0]
    wide: Tensor = vector.float()
    return wide


def unpacked(weight: Weight, threads: int) -> Tensor:
    """The whole matrix as BF16."""
    if isinstance(weight, Tensor):
        return weight
    out = torch.empty(weight.rows, weight.columns, dtype=torch.bfloat16)
    kernels.unpack(weight, out, threads)
    return out


def rows(weight: Packed, numbers: NDArray[np.int64]) -> NDArray[np.uint16]:
    """The named rows [T, columns] of a matrix, as BF16 words: an embedding."""
    out = np.empty((len(numbers), weight.columns), np.uint16)
    for place, number in enumerate(numbers.tolist()):
        kernels.unpack(weight, out[place : place + 1], 1, number)
    return out
