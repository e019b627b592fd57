"""KVCache: keys and values of one sequence, all layers, allocated once at its full length."""

import torch
from torch import Tensor


class KVCache:
    """`length` tokens are filled. Keys and values are [heads, capacity, width] a layer, in BF16."""

    def __init__(self, layers: int, heads: int, width: int, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys = torch.empty(layers, heads, capacity, width, dtype=torch.bfloat16)
        self._values = torch.empty_like(self._keys)

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Appends [heads, T, width] to a layer; returns all of the layer's keys and values so far."""
        end = self.length + key.shape[1]
        self._keys[layer, :, self.length : end] = key
        self._values[layer, :, self.length : end] = value
        return self._keys[layer, :, :end], self._values[layer, :, :end]

    def advance(self, tokens: int) -> None:
        """After all layers have been extended by `tokens`."""
        self.length += tokens
