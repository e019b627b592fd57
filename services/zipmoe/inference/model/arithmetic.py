"""Arithmetic: the two ways to multiply. Both give BF16, rounded where transformers' eager BF16 rounds.

`Reference` does exactly the calls of transformers' eager implementation, so its logits are bit-identical to it on the
same machine. `Fast` may sum in another order.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from zipmoe import kernels

# Rows up to which our kernels beat torch's: they stream the weights once whatever the rows, torch pays for packing.
MOST_KERNEL_ROWS: Final = 8


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """An expert as it lies in the arena: gate_up [2I, H], gate's rows before up's, and down [H, I]; BF16."""

    gate_up: Tensor
    down: Tensor


class Arithmetic(Protocol):
    name: str
    # Tokens of a prompt that go through a layer together, 0 for all of them.
    chunk: int

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """x [T, K] times weight [N, K] transposed: [T, N]."""

    def expert(self, x: Tensor, weights: ExpertWeights) -> Tensor:
        """silu(x·gate) * (x·up) · down for x [T, H]: [T, H]."""


class Reference:
    name = "reference"
    # A matrix product's bits may depend on its number of rows, so a prompt goes whole, as in transformers.
    chunk = 0

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        return linear(x, weight)

    def expert(self, x: Tensor, weights: ExpertWeights) -> Tensor:
        gate, up = linear(x, weights.gate_up).chunk(2, dim=-1)
        return linear(silu(gate) * up, weights.down)


class Fast:
    name = "fast"
    chunk = 256

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._torch = Reference()

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        if len(x) > MOST_KERNEL_ROWS:
            return linear(x, weight)
        out = torch.empty(len(x), len(weight), dtype=torch.bfloat16)
        kernels.linear(x, weight, out, self._threads)
        return out

    def expert(self, x: Tensor, weights: ExpertWeights) -> Tensor:
        if len(x) > MOST_KERNEL_ROWS:
            return self._torch.expert(x, weights)
        out = torch.empty_like(x)
        kernels.expert(x, weights.gate_up, weights.down, out, self._threads)
        return out


def arithmetic(name: str, threads: int) -> Arithmetic:
    return Reference() if name == "reference" else Fast(threads)
