"""Routers: which experts a token has, and with what weights, from its logits. As transformers' eager modules do.

T tokens, E experts a layer, k experts a token.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softmax


class Router(Protocol):
    @property
    def k(self) -> int: ...

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Experts [T, k] and their gate weights [T, k], of any kind of float, from logits [T, E]."""


@dataclass(frozen=True, slots=True)
class SoftmaxTopK:
    """The k of highest probability (Shazeer et al., 2017): OLMoE, Qwen, Mixtral. `normalise`: their weights add up to
    1. `rounded`: the weights are rounded to the logits' precision."""

    k: int
    normalise: bool = False
    rounded: bool = True

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        weights, experts = torch.topk(softmax(logits, dtype=torch.float, dim=-1), self.k, dim=-1)
        if self.normalise:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return experts, weights.to(logits.dtype) if self.rounded else weights


@dataclass(frozen=True, slots=True)
class TopKSoftmax:
    """The softmax of the k highest logits alone: Granite."""

    k: int

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        highest, experts = logits.float().topk(self.k, dim=-1)
        return experts, softmax(highest, dim=-1).to(logits.dtype)


@dataclass(frozen=True, slots=True)
class SparseMixer:
    """Two experts, one after the other, each weighted among those whose logits are near to its own (Liu et al., 2024,
    as it infers): Phi-3.5-MoE."""

    jitter: float
    k: int = 2

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        left, chosen = logits, list[tuple[Tensor, Tensor]]()
        for _ in range(self.k):
            highest, expert = left.max(dim=-1, keepdim=True)
            far = ((highest - logits) / logits.abs().clamp(min=highest)) > 2 * self.jitter
            weights = softmax(left.masked_fill(far, float("-inf")), dim=-1)
            chosen.append((expert, weights.gather(dim=-1, index=expert)))
            left = left.scatter(-1, expert, float("-inf"))
        experts, weights = (torch.concat(parts, dim=-1) for parts in zip(*chosen, strict=True))
        return experts, weights


@dataclass(frozen=True, slots=True)
class Grouped:
    """Experts lie in `groups`, and a token has those of the best `most` groups alone (DeepSeek-AI, 2024)."""

    groups: int
    most: int

    def mask(self, scores: Tensor, best: int) -> Tensor:
        """Where [T, E] experts may be chosen. A group is as good as the sum of its `best` scores."""
        each = scores.view(len(scores), self.groups, -1)
        group_scores = each.topk(best, dim=-1)[0].sum(dim=-1)
        chosen = torch.topk(group_scores, k=self.most, dim=-1, sorted=False)[1]
        mask = torch.zeros_like(group_scores).scatter_(1, chosen, 1)
        return mask.unsqueeze(-1).expand_as(each).reshape(scores.shape).bool()


@dataclass(frozen=True, slots=True)
class ScaledTopK:
    """The k of highest probability, of the groups that a token may have; weights are times `scale`: DeepSeek-V2."""

    k: int
    scale: float
    grouped: Grouped | None = None

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        scores = logits.softmax(dim=-1, dtype=torch.float32)
        if self.grouped is not None:
            scores = scores.masked_fill(~self.grouped.mask(scores, best=1), 0.0)
        weights, experts = torch.topk(scores, self.k, dim=-1, sorted=False)
        return experts, weights * self.scale


@dataclass(frozen=True, slots=True)
class BiasedTopK:
    """The k whose sigmoid and bias [E] together are highest, of the groups that a token may have; weighted by the
    sigmoid alone, times `scale`: DeepSeek-V3 (DeepSeek-AI, 2024), GLM-4.5."""

    k: int
    scale: float
    normalise: bool
    grouped: Grouped
    bias: Tensor

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        scores = logits.sigmoid()
        biased = scores + self.bias
        biased = biased.masked_fill(~self.grouped.mask(biased, best=2), float("-inf"))
        experts = torch.topk(biased, self.k, dim=-1, sorted=False)[1]
        weights = scores.gather(1, experts)
        if self.normalise:
            weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
        return experts, weights * self.scale
