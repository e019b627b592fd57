"""Reference: exactly the calls of transformers' eager implementation, in torch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from zipmoe.inference.model import blocks
from zipmoe.inference.model.arithmetic import Integers, Shares
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.rotary import Rotary
from zipmoe.inference.model.weight import DenseWeights, ExpertWeights, Weight, rows, unpacked


class Reference:
    name = "reference"
    # A matrix product's bits may depend on its number of rows, so a prompt goes whole, as in transformers.
    chunk = 0

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def prepare(self, dense: DenseWeights) -> DenseWeights:
        return dense

    def cache(self, layers: int, heads: int, width: int, capacity: int) -> KVCache:
        keys = torch.empty(layers, heads, capacity, width, dtype=torch.bfloat16)
        return KVCache(capacity, keys, torch.empty_like(keys))

    def embed(self, tokens: Tensor, weight: Weight) -> Tensor:
        return rows(weight, tokens, self._threads)

    def linear(self, x: Tensor, weight: Weight) -> Tensor:
        return linear(x, unpacked(weight, self._threads))

    def norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        return blocks.rms_norm(x, weight, epsilon)

    def clip(self, x: Tensor, bound: float) -> Tensor:
        return x.clamp(-bound, bound)

    def rotate(self, x: Tensor, heads: int, rotary: Rotary, start: int) -> Tensor:
        turned = blocks.rotate(_heads(x, heads), *rotary.at(start, len(x)))
        return turned.transpose(0, 1).reshape(x.shape)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, heads: int, cache: KVCache, layer: int) -> Tensor:
        keys, values = cache.keys[layer], cache.values[layer]
        end = cache.length + len(key)
        keys[:, cache.length : end] = _heads(key, len(keys))
        values[:, cache.length : end] = _heads(value, len(keys))
        return blocks.attend(_heads(query, heads), keys[:, :end], values[:, :end])

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        return x + other

    def route(self, logits: Tensor, k: int, normalise: bool) -> tuple[Integers, Shares]:
        experts, weights = blocks.route(logits, k, normalise)
        return experts.numpy(), weights.float().numpy()

    def take(self, x: Tensor, places: Integers) -> Tensor:
        return x[torch.from_numpy(places)]

    def experts(self, work: Sequence[tuple[Tensor, ExpertWeights]]) -> list[Tensor]:
        return [self.expert(x, weights) for x, weights in work]

    def expert(self, x: Tensor, weights: ExpertWeights) -> Tensor:
        gate, up = self.linear(x, weights.gate_up).chunk(2, dim=-1)
        return self.linear(silu(gate) * up, weights.down)

    def mix(self, x: Tensor, parts: Sequence[tuple[Integers, Shares, Tensor]]) -> Tensor:
        total = torch.zeros_like(x)
        for places, shares, output in parts:
            weighted = output * torch.from_numpy(shares).to(x.dtype)[:, None]
            if len(x) == 1:
                total += weighted
            else:
                total.index_add_(0, torch.from_numpy(places), weighted)
        return total

    def logits(self, x: Tensor) -> Tensor:
        return x


def _heads(x: Tensor, heads: int) -> Tensor:
    """[T, N·D] -> [N, T, D]"""
    return x.view(len(x), heads, -1).transpose(0, 1)
