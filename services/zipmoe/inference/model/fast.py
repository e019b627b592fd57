"""Fast: our kernels, on words in numpy arrays. For one token a torch operator costs more than most of what it computes:
handing it over takes a few microseconds, an array one or two."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zipmoe import kernels
from zipmoe.inference.model.arithmetic import Integers, Shares
from zipmoe.inference.model.kv_cache import PAGE, KVCache
from zipmoe.inference.model.reference import Reference
from zipmoe.inference.model.rotary import Pairs, Turns
from zipmoe.inference.model.router import Router, SoftmaxTopK
from zipmoe.inference.model.span import Span
from zipmoe.inference.model.weight import DenseWeights, ExpertWeights, PackedExpert, rows, unpacked
from zipmoe.kernels import Packed

Words = NDArray[np.uint16]
Matrix = Words | Packed


class Fast:
    name = "fast"
    divides = True

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._torch = Reference(threads)

    def prepare(self, dense: DenseWeights) -> DenseWeights:
        plain = {name: words(weight) for name, weight in dense.matrices.items() if isinstance(weight, Tensor)}
        # What is wider than BF16 is none of the kernels' business.
        vectors = {
            name: words(vector[None]) if vector.dtype is torch.bfloat16 else vector
            for name, vector in dense.vectors.items()
        }
        return replace(dense, matrices={**dense.matrices, **plain}, vectors=vectors)

    def grouped(self, spans: Sequence[Span]) -> Sequence[Sequence[Span]]:
        return [spans]

    def embed(self, tokens: Integers, weight: Matrix) -> Words:
        return rows(weight, tokens) if isinstance(weight, Packed) else weight[tokens]

    def linear(self, x: Words, weight: Matrix, bias: Words | None = None) -> Words:
        out = np.empty((len(x), weight.rows if isinstance(weight, Packed) else len(weight)), np.uint16)
        kernels.linear(x, weight, out, self._threads)
        if bias is not None:
            tensor(out).add_(tensor(bias))
        return out

    def linears(self, x: Words, weights: Sequence[tuple[Matrix, Words | None]]) -> list[Words]:
        packed = [weight for weight, bias in weights if isinstance(weight, Packed) and bias is None]
        if len(packed) < len(weights):
            return [self.linear(x, weight, bias) for weight, bias in weights]
        outs = [np.empty((len(x), weight.rows), np.uint16) for weight in packed]
        kernels.linears(x, list(zip(packed, outs, strict=True)), self._threads)
        return outs

    def norm(self, x: Words, weight: Words, epsilon: float) -> Words:
        out, width = np.empty_like(x), weight.shape[1]
        kernels.norm(x.reshape(-1, width), weight, epsilon, out.reshape(-1, width))
        return out

    def centred_norm(self, x: Words, weight: Words, bias: Words, epsilon: float) -> Words:
        return words(self._torch.centred_norm(tensor(x), tensor(weight)[0], tensor(bias)[0], epsilon))

    def clip(self, x: Words, bound: float) -> Words:
        return words(self._torch.clip(tensor(x), bound))

    def wide_linear(self, x: Words, weight: Matrix) -> Tensor:
        return self._torch.wide_linear(tensor(x), weight if isinstance(weight, Packed) else tensor(weight))

    def part(self, x: Words, start: int, end: int | None) -> Words:
        return np.ascontiguousarray(x[:, start:end])

    def join(self, x: Words, other: Words) -> Words:
        return np.concatenate((x, other), axis=1)

    def rotate(self, x: Words, heads: int, turns: Turns, start: int = 0) -> Words:
        if turns.pairs is not Pairs.HALVES or turns.cosines.shape[1] * heads != x.shape[1]:
            return words(self._torch.rotate(tensor(x), heads, turns, start))
        kernels.rotate(x, heads, *turns.words)
        return x

    def attend(
        self,
        query: Words,
        key: Words,
        value: Words,
        heads: int,
        scale: float,
        spans: Sequence[Span],
        cache: KVCache,
        layer: int,
    ) -> Words:
        kept = key.shape[1] * heads // query.shape[1]
        out = np.empty((len(query), heads * value.shape[1] // kept), np.uint16)
        self._attend(query, key, value, heads, scale, spans, cache, layer, out)
        return out

    def attend_latent(
        self,
        query: Words,
        latent: Words,
        expand: Matrix,
        heads: int,
        plain: int,
        scale: float,
        spans: Sequence[Span],
        cache: KVCache,
        layer: int,
    ) -> Words:
        """A head's plain query goes through the expansion instead of every key: then the latents themselves are the
        keys, of one head that serves all, and the values, which are expanded when they have been summed up."""
        weight = unpacked(expand, self._threads) if isinstance(expand, Packed) else tensor(expand)
        to_keys, to_values = weight.view(heads, -1, weight.shape[1]).tensor_split([plain], dim=1)
        each = tensor(query).view(len(query), heads, -1).transpose(0, 1)
        narrow = torch.cat((torch.bmm(each[..., :plain], to_keys), each[..., plain:]), dim=-1)
        asked = words(narrow.transpose(0, 1).reshape(len(query), -1))
        out = np.empty((len(query), heads * weight.shape[1]), np.uint16)
        self._attend(asked, latent, latent[:, :0], heads, scale, spans, cache, layer, out)
        summed = tensor(out).view(len(query), heads, -1).transpose(0, 1)
        return words(torch.bmm(summed, to_values.transpose(1, 2)).transpose(0, 1).reshape(len(query), -1))

    def _attend(
        self,
        query: Words,
        key: Words,
        value: Words,
        heads: int,
        scale: float,
        spans: Sequence[Span],
        cache: KVCache,
        layer: int,
        out: Words,
    ) -> None:
        sequences = [(len(span.tokens), span.start, span.pages) for span in spans]
        kept = cache.keys[layer], cache.values[layer]
        kernels.attend(query, key, value, *kept, sequences, PAGE, heads, scale, out, self._threads)

    def add(self, x: Words, other: Words) -> Words:
        kernels.add(x, other)
        return x

    def scale(self, x: Words, factor: float) -> Words:
        return x if factor == 1 else words(tensor(x) * factor)

    def gated(self, gate: Words, up: Words) -> Words:
        return words(self._torch.gated(tensor(gate), tensor(up)))

    def dampen(self, x: Words, logits: Words) -> Words:
        return words(self._torch.dampen(tensor(x), tensor(logits)))

    def route(self, logits: Words | Tensor, router: Router) -> tuple[Integers, Shares]:
        if isinstance(logits, Tensor):
            return self._torch.route(logits, router)
        if not isinstance(router, SoftmaxTopK) or not router.rounded:
            return self._torch.route(tensor(logits), router)
        size = (len(logits), router.k)
        chosen, shares = np.empty(size, np.int64), np.empty(size, np.float32)
        kernels.route(logits, router.normalise, chosen, shares)
        return chosen, shares

    def take(self, x: Words, places: Integers) -> Words:
        return x if len(x) == len(places) == 1 else x[places]

    def experts(self, work: Sequence[tuple[Words, ExpertWeights]]) -> list[Words]:
        outs = [np.empty_like(x) for x, _ in work]
        packed = []
        for (x, weights), out in zip(work, outs, strict=True):
            if isinstance(weights, PackedExpert):
                packed.append((x, weights.gate_up, weights.down, out))
            else:
                kernels.expert(x, weights.gate_up, weights.down, out, self._threads)
        kernels.experts(packed, self._threads)
        return outs

    def mix(self, x: Words, parts: Sequence[tuple[Integers, Shares, Words]]) -> Words:
        total = np.empty_like(x)
        kernels.mix(total, parts)
        return total

    def mixture(self, x: Words, experts: Integers, shares: Shares, layer: Sequence[PackedExpert]) -> Words:
        out = np.empty_like(x)
        kernels.mixture(x, experts, shares, layer, out, self._threads)
        return out

    def logits(self, x: Words, divisor: float) -> Tensor:
        return self._torch.logits(tensor(x), divisor)


def words(x: Tensor) -> Words:
    """The same memory, as an array."""
    array: Words = x.contiguous().view(torch.uint16).numpy()
    return array


def tensor(x: Words) -> Tensor:
    """The same memory, as a tensor."""
    return torch.from_numpy(x).view(torch.bfloat16)
