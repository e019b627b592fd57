"""Blocks of transformers' eager implementation, in torch.

T tokens, N heads, D width of a head.
"""

import torch
from torch import Tensor
from torch.nn.functional import softmax

from zipmoe.inference.model.rotary import Pairs, Turns


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square norm in FP32 (Zhang and Sennrich, 2019); x [..., W], weight [W]."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * wide.to(x.dtype)


def rotate(x: Tensor, turns: Turns, start: int = 0) -> Tensor:
    """Turns x [N, T, D] by its positions, from `start` on as much as turns."""
    width = turns.cosines.shape[-1] * (2 if turns.pairs is Pairs.NEIGHBOURS else 1)
    if width == x.shape[-1]:
        return _turned(x, turns)
    before, within, behind = x.tensor_split([start, start + width], dim=-1)
    return torch.cat((before, _turned(within, turns), behind), dim=-1)


def _turned(x: Tensor, turns: Turns) -> Tensor:
    cos, sin = turns.cosines, turns.sines
    if turns.pairs is Pairs.HALVES:
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-second, first), dim=-1) * sin
    if turns.pairs is Pairs.NEIGHBOURS:
        pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2).to(x.dtype)
    half = cos.shape[-1] // 2
    first, second, cos, sin = x[..., 0::2], x[..., 1::2], cos[..., :half], sin[..., :half]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Causal attention of query [N, T, D] over key, value [N, S, D], of which the last T are the query's own: [T, N·D].

    Key and value may have fewer heads than the query: each serves several, in order; and D may be another for values.
    Scores are times `scale`.
    """
    heads, tokens, _ = query.shape
    if key.shape[0] != heads:
        key = key.repeat_interleave(heads // key.shape[0], dim=0)
        value = value.repeat_interleave(heads // value.shape[0], dim=0)
    scores = torch.matmul(query, key.transpose(1, 2)) * scale
    if tokens > 1:
        scores = scores + _future(tokens, key.shape[1])
    shares = softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(shares, value).transpose(0, 1).reshape(tokens, -1)


def _future(tokens: int, seen: int) -> Tensor:
    """0 where a token may look, BF16's lowest where that would be the future: [T, S]."""
    mask = torch.full((tokens, seen), torch.finfo(torch.bfloat16).min, dtype=torch.bfloat16)
    return mask.triu(seen - tokens + 1)
