"""Reference: exactly the calls of transformers' eager implementation, in torch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import layer_norm, linear, silu

from zipmoe.inference.model import blocks
from zipmoe.inference.model.arithmetic import Integers, Shares
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.rotary import Turns
from zipmoe.inference.model.router import Router
from zipmoe.inference.model.span import Span
from zipmoe.inference.model.tokens import tokens_by_expert
from zipmoe.inference.model.weight import DenseWeights, ExpertWeights, PackedExpert, Weight, rows, unpacked


class Reference:
    name = "reference"
    # A matrix product's bits may depend on its number of rows, so a prompt goes whole and alone, as in transformers.
    divides = False

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def prepare(self, dense: DenseWeights) -> DenseWeights:
        return dense

    def grouped(self, spans: Sequence[Span]) -> Sequence[Sequence[Span]]:
        return [[span] for span in spans]

    def embed(self, tokens: Integers, weight: Weight) -> Tensor:
        if isinstance(weight, Tensor):
            return torch.nn.functional.embedding(torch.from_numpy(tokens), weight)
        return torch.from_numpy(rows(weight, tokens)).view(torch.bfloat16)

    def linear(self, x: Tensor, weight: Weight, bias: Tensor | None = None) -> Tensor:
        return linear(x, unpacked(weight, self._threads), bias)

    def linears(self, x: Tensor, weights: Sequence[tuple[Weight, Tensor | None]]) -> list[Tensor]:
        return [self.linear(x, weight, bias) for weight, bias in weights]

    def norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        return blocks.rms_norm(x.view(len(x), -1, len(weight)), weight, epsilon).view(x.shape)

    def centred_norm(self, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        return layer_norm(x, weight.shape, weight, bias, epsilon)

    def clip(self, x: Tensor, bound: float) -> Tensor:
        return x.clamp(-bound, bound)

    def wide_linear(self, x: Tensor, weight: Weight) -> Tensor:
        return linear(x.float(), unpacked(weight, self._threads).float())

    def part(self, x: Tensor, start: int, end: int | None) -> Tensor:
        return x[:, start:end].contiguous()

    def join(self, x: Tensor, other: Tensor) -> Tensor:
        return torch.cat((x, other), dim=-1)

    def rotate(self, x: Tensor, heads: int, turns: Turns, start: int = 0) -> Tensor:
        turned = blocks.rotate(_heads(x, heads), turns, start)
        return turned.transpose(0, 1).reshape(x.shape)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        heads: int,
        scale: float,
        spans: Sequence[Span],
        cache: KVCache,
        layer: int,
    ) -> Tensor:
        (span,) = spans
        kept = key.shape[1] * heads // query.shape[1]
        keys = _heads(_kept(cache.keys[layer], span, key), kept).contiguous()
        values = _heads(_kept(cache.values[layer], span, value), kept).contiguous()
        return blocks.attend(_heads(query, heads), keys, values, scale)

    def attend_latent(
        self,
        query: Tensor,
        latent: Tensor,
        expand: Weight,
        heads: int,
        plain: int,
        scale: float,
        spans: Sequence[Span],
        cache: KVCache,
        layer: int,
    ) -> Tensor:
        (span,) = spans
        query = _heads(query, heads).contiguous()
        rows, turning = _kept(cache.keys[layer], span, latent), query.shape[-1] - plain
        narrow, turned = rows.tensor_split([rows.shape[1] - turning], dim=-1)
        expanded = _heads(self.linear(narrow.contiguous(), expand), heads)
        key = torch.cat((expanded[..., :plain], turned.expand(heads, -1, -1)), dim=-1)
        return blocks.attend(query, key, expanded[..., plain:], scale)

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

    def mixture(self, x: Tensor, experts: Integers, shares: Shares, layer: Sequence[PackedExpert]) -> Tensor:
        each = sorted(tokens_by_expert(experts, shares).items())
        outputs = self.experts([(self.take(x, places), layer[expert]) for expert, (places, _) in each])
        return self.mix(x, [(*tokens, output) for (_, tokens), output in zip(each, outputs, strict=True)])

    def logits(self, x: Tensor, divisor: float) -> Tensor:
        return x if divisor == 1 else x / divisor


def _kept(words: NDArray[np.uint16], span: Span, rows: Tensor) -> Tensor:
    """Puts the span's rows into a layer of the cache: all that the sequence has there [end, W]."""
    kept, places = torch.from_numpy(words).view(torch.bfloat16), torch.from_numpy(span.rows)
    kept[places[span.start :]] = rows
    return kept[places]


def _heads(x: Tensor, heads: int) -> Tensor:
    """[T, N·D] -> [N, T, D]"""
    return x.view(len(x), heads, -1).transpose(0, 1)
