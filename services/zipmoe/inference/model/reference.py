"""Reference: exactly the calls of transformers' eager implementation, in torch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear, silu

from zipmoe.inference.model import blocks
from zipmoe.inference.model.arithmetic import Integers, Shares
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.rotary import Rotary
from zipmoe.inference.model.router import Router
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

    def linear(self, x: Tensor, weight: Weight, bias: Tensor | None = None) -> Tensor:
        return linear(x, unpacked(weight, self._threads), bias)

    def norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        return blocks.rms_norm(x.view(len(x), -1, len(weight)), weight, epsilon).view(x.shape)

    def centred_norm(self, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        return layer_norm(x, weight.shape, weight, bias, epsilon)

    def clip(self, x: Tensor, bound: float) -> Tensor:
        return x.clamp(-bound, bound)

    def rotate(self, x: Tensor, heads: int, rotary: Rotary, start: int) -> Tensor:
        turned = blocks.rotate(_heads(x, heads), *rotary.at(start, len(x)))
        return turned.transpose(0, 1).reshape(x.shape)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        heads: int,
        cache: KVCache,
        layer: int,
        scale: float | None = None,
    ) -> Tensor:
        keys, values = cache.keys[layer], cache.values[layer]
        end = cache.length + len(key)
        keys[:, cache.length : end] = _heads(key, len(keys))
        values[:, cache.length : end] = _heads(value, len(keys))
        return blocks.attend(_heads(query, heads), keys[:, :end], values[:, :end], scale)

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        return x + other

    def scale(self, x: Tensor, factor: float) -> Tensor:
        return x if factor == 1 else x * factor

    def gated(self, gate: Tensor, up: Tensor) -> Tensor:
        return silu(gate) * up

    def dampen(self, x: Tensor, logits: Tensor) -> Tensor:
        return logits.sigmoid() * x

    def route(self, logits: Tensor, router: Router) -> tuple[Integers, Shares]:
        experts, weights = router(logits)
        return experts.numpy(), weights.float().numpy()

    def take(self, x: Tensor, places: Integers) -> Tensor:
        return x[torch.from_numpy(places)]

    def experts(self, work: Sequence[tuple[Tensor, ExpertWeights]]) -> list[Tensor]:
        return [self.expert(x, weights) for x, weights in work]

    def expert(self, x: Tensor, weights: ExpertWeights) -> Tensor:
        gate, up = self.linear(x, weights.gate_up).chunk(2, dim=-1)
        return self.linear(self.gated(gate, up), weights.down)

    def mix(self, x: Tensor, parts: Sequence[tuple[Integers, Shares, Tensor]]) -> Tensor:
        total = torch.zeros_like(x)
        for places, shares, output in parts:
            weighted = (output * torch.from_numpy(shares)[:, None]).to(x.dtype)
            if len(x) == 1:
                total += weighted
            else:
                total.index_add_(0, torch.from_numpy(places), weighted)
        return total

    def logits(self, x: Tensor, divisor: float) -> Tensor:
        return x if divisor == 1 else x / divisor


def _heads(x: Tensor, heads: int) -> Tensor:
    """[T, N·D] -> [N, T, D]"""
    return x.view(len(x), heads, -1).transpose(0, 1)
