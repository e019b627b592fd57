"""Blocks of transformers' eager implementation, in torch.

T tokens, N heads, D width of a head.
"""

import torch
from torch import Tensor
from torch.nn.functional import softmax


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square norm in FP32 (Zhang and Sennrich, 2019); x [..., W], weight [W]."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * wide.to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns x [N, T, D] by its positions."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """Causal attention of query [N, T, D] over key, value [N, S, D], of which the last T are the query's own: [T, N·D].

    Key and value may have fewer heads than the query: each serves several, in order. Scores are times `scale`, by
    default one over the root of D.
    """
    heads, tokens, width = query.shape
    if key.shape[0] != heads:
        key = key.repeat_interleave(heads // key.shape[0], dim=0)
        value = value.repeat_interleave(heads // value.shape[0], dim=0)
    scores = torch.matmul(query, key.transpose(1, 2)) * (width**-0.5 if scale is None else scale)
    if tokens > 1:
        scores = scores + _future(tokens, key.shape[1])
    shares = softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(shares, value).transpose(0, 1).reshape(tokens, heads * width)


def _future(tokens: int, seen: int) -> Tensor:
    """0 where a token may look, BF16's lowest where that would be the future: [T, S]."""
    mask = torch.full((tokens, seen), torch.finfo(torch.bfloat16).min, dtype=torch.bfloat16)
    return mask.triu(seen - tokens + 1)
