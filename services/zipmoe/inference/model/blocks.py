"""Blocks that the families share. T tokens, H hidden width, N heads, D width of a head, k experts a token."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softmax

# (layer, x [T, H], experts [T, k], gate weights [T, k]) -> sum of the experts' outputs, weighted [T, H]
Mixture = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square norm in FP32 (Zhang and Sennrich, 2019); x [..., W], weight [W]."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * wide.to(x.dtype)


class Rotary:
    """Rotary position embedding (Su et al., 2021), half-rotation form; tables for all positions, in BF16."""

    def __init__(self, width: int, context: int, base: float) -> None:
        frequencies = 1.0 / (base ** (torch.arange(0, width, 2, dtype=torch.float) / width))
        angles = torch.arange(context).float()[:, None] * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        self._cos = angles.cos().to(torch.bfloat16)
        self._sin = angles.sin().to(torch.bfloat16)

    def at(self, start: int, tokens: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, D] of consecutive positions."""
        return self._cos[start : start + tokens], self._sin[start : start + tokens]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns x [N, T, D] by its positions."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention of query [N, T, D] over key, value [N, S, D], of which the last T are the query's own: [T, N·D].

    Key and value may have fewer heads than the query: each serves several, in order.
    """
    heads, tokens, width = query.shape
    if key.shape[0] != heads:
        key = key.repeat_interleave(heads // key.shape[0], dim=0)
        value = value.repeat_interleave(heads // value.shape[0], dim=0)
    scores = torch.matmul(query, key.transpose(1, 2)) * width**-0.5
    if tokens > 1:
        scores = scores + _future(tokens, key.shape[1])
    shares = softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(shares, value).transpose(0, 1).reshape(tokens, heads * width)


def _future(tokens: int, seen: int) -> Tensor:
    """0 where a token may look, BF16's lowest where that would be the future: [T, S]."""
    mask = torch.full((tokens, seen), torch.finfo(torch.bfloat16).min, dtype=torch.bfloat16)
    return mask.triu(seen - tokens + 1)


def route(logits: Tensor, k: int, normalise: bool) -> tuple[Tensor, Tensor]:
    """The k experts [T, k] of each token and their gate weights [T, k], from router logits [T, experts]."""
    weights, experts = torch.topk(softmax(logits, dtype=torch.float, dim=-1), k, dim=-1)
    if normalise:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    return experts, weights.to(logits.dtype)
