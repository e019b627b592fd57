"""Fast: our kernels, on words in numpy arrays. For one token a torch operator costs more than most of what it computes:
handing it over takes a few microseconds, an array one or two."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zipmoe import kernels
from zipmoe.inference.model.arithmetic import Integers, Shares
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.reference import Reference
from zipmoe.inference.model.rotary import Rotary
from zipmoe.inference.model.router import Router, SoftmaxTopK
from zipmoe.inference.model.weight import DenseWeights, ExpertWeights, PackedExpert, rows
from zipmoe.kernels import Packed

Words = NDArray[np.uint16]
Matrix = Words | Packed

# Rows up to which our kernels beat torch's where the processor multiplies BF16 itself: they stream the weights once
# whatever the rows, torch wants them unpacked. Where it does not, they are four to five times as fast at any number.
MOST_KERNEL_ROWS: Final = 16


class Fast:
    name = "fast"
    chunk = 256

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._torch = Reference(threads)
        self._most_rows = MOST_KERNEL_ROWS if torch.ops.mkldnn._is_mkldnn_bf16_supported() else self.chunk

    def prepare(self, dense: DenseWeights) -> DenseWeights:
        plain = {name: words(weight) for name, weight in dense.matrices.items() if isinstance(weight, Tensor)}
        vectors = {name: words(vector[None]) for name, vector in dense.vectors.items()}
        return replace(dense, matrices={**dense.matrices, **plain}, vectors=vectors)

    def cache(self, layers: int, heads: int, width: int, capacity: int) -> KVCache:
        """[layers, capacity, heads · width]: a token's keys lie side by side."""
        keys = np.empty((layers, capacity, heads * width), np.uint16)
        return KVCache(capacity, keys, np.empty_like(keys))

    def embed(self, tokens: Tensor, weight: Matrix) -> Words:
        return words(rows(weight, tokens, self._threads)) if isinstance(weight, Packed) else weight[tokens.numpy()]

    def linear(self, x: Words, weight: Matrix, bias: Words | None = None) -> Words:
        if len(x) > self._most_rows:
            out = words(self._torch.linear(tensor(x), weight if isinstance(weight, Packed) else tensor(weight)))
        else:
            out = np.empty((len(x), weight.rows if isinstance(weight, Packed) else len(weight)), np.uint16)
            kernels.linear(x, weight, out, self._threads)
        if bias is not None:
            tensor(out).add_(tensor(bias))
        return out

    def norm(self, x: Words, weight: Words, epsilon: float) -> Words:
        out, width = np.empty_like(x), weight.shape[1]
        kernels.norm(x.reshape(-1, width), weight, epsilon, out.reshape(-1, width))
        return out

    def centred_norm(self, x: Words, weight: Words, bias: Words, epsilon: float) -> Words:
        return words(self._torch.centred_norm(tensor(x), tensor(weight)[0], tensor(bias)[0], epsilon))

    def clip(self, x: Words, bound: float) -> Words:
        return words(self._torch.clip(tensor(x), bound))

    def rotate(self, x: Words, heads: int, rotary: Rotary, start: int) -> Words:
        kernels.rotate(x, heads, *rotary.words_at(start, len(x)))
        return x

    def attend(
        self, query: Words, key: Words, value: Words, heads: int, cache: KVCache, layer: int, scale: float | None = None
    ) -> Words:
        keys, values = cache.keys[layer], cache.values[layer]
        end = cache.length + len(key)
        keys[cache.length : end], values[cache.length : end] = key, value
        out, usual = np.empty_like(query), (query.shape[1] // heads) ** -0.5
        kernels.attend(query, keys[:end], values[:end], heads, usual if scale is None else scale, out, self._threads)
        return out

    def add(self, x: Words, other: Words) -> Words:
        kernels.add(x, other)
        return x

    def scale(self, x: Words, factor: float) -> Words:
        return x if factor == 1 else words(tensor(x) * factor)

    def gated(self, gate: Words, up: Words) -> Words:
        return words(self._torch.gated(tensor(gate), tensor(up)))

    def dampen(self, x: Words, logits: Words) -> Words:
        return words(self._torch.dampen(tensor(x), tensor(logits)))

    def route(self, logits: Words, router: Router) -> tuple[Integers, Shares]:
        if not isinstance(router, SoftmaxTopK) or not router.rounded:
            return self._torch.route(tensor(logits), router)
        size = (len(logits), router.k)
        chosen, shares = np.empty(size, np.int64), np.empty(size, np.float32)
        kernels.route(logits, router.normalise, chosen, shares)
        return chosen, shares

    def take(self, x: Words, places: Integers) -> Words:
        return x if len(x) == 1 else x[places]

    def experts(self, work: Sequence[tuple[Words, ExpertWeights]]) -> list[Words]:
        outs = [np.empty_like(x) for x, _ in work]
        packed = []
        for (x, weights), out in zip(work, outs, strict=True):
            if len(x) > self._most_rows:
                out[:] = words(self._torch.expert(tensor(x), weights))
            elif isinstance(weights, PackedExpert):
                packed.append((x, weights.gate_up, weights.down, out))
            else:
                kernels.expert(x, weights.gate_up, weights.down, out, self._threads)
        kernels.experts(packed, self._threads)
        return outs

    def mix(self, x: Words, parts: Sequence[tuple[Integers, Shares, Words]]) -> Words:
        total = np.zeros_like(x)
        for places, shares, output in parts:
            kernels.add_weighted(total, places, output, shares)
        return total

    def logits(self, x: Words, divisor: float) -> Tensor:
        return self._torch.logits(tensor(x), divisor)


def words(x: Tensor) -> Words:
    """The same memory, as an array."""
    array: Words = x.contiguous().view(torch.uint16).numpy()
    return array


def tensor(x: Words) -> Tensor:
    """The same memory, as a tensor."""
    return torch.from_numpy(x).view(torch.bfloat16)
