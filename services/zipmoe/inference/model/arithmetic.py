"""Arithmetic: the two ways to multiply. Both give BF16, rounded where transformers' eager BF16 rounds.

`Reference` does exactly the calls of transformers' eager implementation, so its logits are bit-identical to it on the
same machine. `Fast` may sum in another order.
"""

from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from zipmoe import kernels
from zipmoe.inference.model.weight import ExpertWeights, PackedExpert, Weight, rows, unpacked

# Rows up to which our kernels beat torch's where the processor multiplies BF16 itself: they stream the weights once
# whatever the rows, torch wants them unpacked. Where it does not, they are four to five times as fast at any number.
MOST_KERNEL_ROWS: Final = 16


class Arithmetic(Protocol):
    name: str
    # Tokens of a prompt that go through a layer together, 0 for all of them.
    chunk: int

    def embed(self, tokens: Tensor, weight: Weight) -> Tensor:
        """The rows of weight [V, H] that tokens [T] name: [T, H]."""

    def linear(self, x: Tensor, weight: Weight) -> Tensor:
        """x [T, K] times weight [N, K] transposed: [T, N]."""

    def expert(self, x: Tensor, weights: ExpertWeights) -> Tensor:
        """silu(x·gate) * (x·up) · down for x [T, H]: [T, H]."""


class Reference:
    name = "reference"
    # A matrix product's bits may depend on its number of rows, so a prompt goes whole, as in transformers.
    chunk = 0

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def embed(self, tokens: Tensor, weight: Weight) -> Tensor:
        return rows(weight, tokens, self._threads)

    def linear(self, x: Tensor, weight: Weight) -> Tensor:
        return linear(x, unpacked(weight, self._threads))

    def expert(self, x: Tensor, weights: ExpertWeights) -> Tensor:
        gate, up = self.linear(x, weights.gate_up).chunk(2, dim=-1)
        return self.linear(silu(gate) * up, weights.down)


class Fast:
    name = "fast"
    chunk = 256

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._torch = Reference(threads)
        self._most_rows = MOST_KERNEL_ROWS if torch.ops.mkldnn._is_mkldnn_bf16_supported() else self.chunk

    def embed(self, tokens: Tensor, weight: Weight) -> Tensor:
        return self._torch.embed(tokens, weight)

    def linear(self, x: Tensor, weight: Weight) -> Tensor:
        if len(x) > self._most_rows:
            return self._torch.linear(x, weight)
        if isinstance(weight, Tensor):
            out = torch.empty(len(x), len(weight), dtype=torch.bfloat16)
            kernels.linear(x, weight, out, self._threads)
        else:
            out = torch.empty(len(x), weight.rows, dtype=torch.bfloat16)
            kernels.linear4(x, weight, out, self._threads)
        return out

    def expert(self, x: Tensor, weights: ExpertWeights) -> Tensor:
        if len(x) > self._most_rows:
            return self._torch.expert(x, weights)
        out = torch.empty_like(x)
        if isinstance(weights, PackedExpert):
            kernels.expert4(x, weights.gate_up, weights.down, out, self._threads)
        else:
            kernels.expert(x, weights.gate_up, weights.down, out, self._threads)
        return out


def arithmetic(name: str, threads: int) -> Arithmetic:
    return Reference(threads) if name == "reference" else Fast(threads)
