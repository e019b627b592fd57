"""The demo model: OLMoE's forward pass, written for fast training on a few CPU cores, and its Hugging Face export.

The mathematics is that of ``transformers``' OLMoE (``evaluate.py --compare`` compares the logits); the layout is not.
Weights of all layers are stacked in one FP32 master tensor per kind, of which every step takes BF16 copies; tokens are
sorted by expert so that each expert is two plain matrix products; attention is cut into blocks of queries so that the
masked half of the scores is mostly never computed.

Shape letters: B rows, T positions, N = B*T tokens, V vocabulary, D hidden, H heads, L layers, E experts, K experts a
token, I an expert's inner width.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import OlmoeConfig

Weights = dict[str, Tensor]
PAD_ROWS = 32  # each expert's rows are padded to a multiple of this: few distinct shapes, each prepared only once
QUERY_BLOCK = 256

HAS_COMPILER = bool(shutil.which("g++") or shutil.which("clang++"))


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` for every shape it meets, if there is a C++ compiler; else leave it as it is."""
    return torch.compile(function, dynamic=False) if HAS_COMPILER else function


def fused_any_rows(function: Callable[..., Any]) -> Callable[..., Any]:
    """As ``fused``, but compiled once for any number of rows."""
    return torch.compile(function, dynamic=True) if HAS_COMPILER else function


def make_config(vocab_size: int, end_of_text: int) -> OlmoeConfig:
    """The architecture: 29.4 M parameters, 9.4 M of them active for a token."""
    return OlmoeConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        num_experts=16,
        num_experts_per_tok=4,
        norm_topk_prob=True,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        rms_norm_eps=1e-5,
        router_aux_loss_coef=0.01,
        tie_word_embeddings=False,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        pad_token_id=end_of_text,
        dtype="bfloat16",
    )


def init_weights(config: OlmoeConfig, seed: int) -> Weights:
    """FP32 master weights, stacked over the layers."""
    generator = torch.Generator().manual_seed(seed)
    d, i, v = config.hidden_size, config.intermediate_size, config.vocab_size
    layers, experts = config.num_hidden_layers, config.num_experts

    def normal(*shape: int, std: float) -> Tensor:
        return torch.randn(*shape, generator=generator) * std

    inner = 0.5 / math.sqrt(d)
    return {
        "embed": normal(v, d, std=0.3),
        "head": normal(v, d, std=0.2 / math.sqrt(d)),
        "norm": torch.ones(d),
        "ln1": torch.ones(layers, d),
        "ln2": torch.ones(layers, d),
        "q_norm": torch.ones(layers, d),
        "k_norm": torch.ones(layers, d),
        "router": normal(layers, experts, d, std=inner),
        "qkv": normal(layers, 3, d, d, std=inner),
        "o": normal(layers, d, d, std=inner / 4),
        "gate_up": normal(layers, experts, 2, i, d, std=inner),
        "down": normal(layers, experts, d, i, std=inner / 4),
    }


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last dimension, computed in FP32; gives x's type."""
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
    """Split [N, D] into heads and turn them by their positions (half-rotation): [B*H, T, D/H]; cos, sin [T, D/H]."""
    t, width = cos.shape
    x = x.view(-1, t, heads, width).transpose(1, 2).float()
    half = torch.cat((-x[..., width // 2 :], x[..., : width // 2]), dim=-1)
    return x * cos + half * sin


@fused
def attention_inputs(
    x: Tensor, ln: Tensor, qkv: Tensor, q_norm: Tensor, k_norm: Tensor, cos: Tensor, sin: Tensor, heads: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """From the residual stream [N, D] to queries (already scaled), keys and values, each [B*H, T, D/H]."""
    t, width = cos.shape
    h = rms_norm(x, ln, eps)
    q, k, v = F.linear(h, qkv.view(-1, h.shape[-1])).chunk(3, dim=-1)
    q = rotate(rms_norm(q, q_norm, eps), cos, sin, heads) * width**-0.5
    k = rotate(rms_norm(k, k_norm, eps), cos, sin, heads)
    v = v.view(-1, t, heads, width).transpose(1, 2)
    return (
        q.to(h.dtype).reshape(-1, t, width),
        k.to(h.dtype).reshape(-1, t, width),
        v.reshape(-1, t, width),
    )


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Causal attention, [B*H, T, D/H] each, in blocks of queries; mask [T, T] holds 0 and -inf."""
    t = q.shape[1]
    blocks = []
    for start in range(0, t, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, t)
        scores = torch.baddbmm(mask[None, start:end, :end], q[:, start:end], k[:, :end].transpose(1, 2))
        blocks.append(torch.bmm(torch.softmax(scores, dim=-1), v[:, :end]))
    return torch.cat(blocks, dim=1)


@fused
def after_attention(
    x: Tensor, mixed: Tensor, o: Tensor, ln: Tensor, router: Tensor, heads: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Output projection, residual, norm, router: the residual stream [N, D], the experts' input and probabilities."""
    t, width = mixed.shape[1:]
    mixed = mixed.view(-1, heads, t, width).transpose(1, 2).reshape(-1, heads * width)
    x = x + F.linear(mixed, o)
    h = rms_norm(x, ln, eps)
    return x, h, torch.softmax(F.linear(h, router).float(), dim=-1)


@fused_any_rows
def swiglu(gate_up: Tensor, scale: Tensor) -> Tensor:
    """silu(gate) * up * scale for gate_up [M, 2I] and scale [M, 1]: [M, I]."""
    gate, up = gate_up.float().chunk(2, dim=-1)
    return (F.silu(gate) * up * scale).to(gate_up.dtype)


@fused_any_rows
def swiglu_backward(gate_up: Tensor, scale: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """swiglu's output again, and the gradients of gate_up and scale, given the output's gradient [M, I]."""
    gate, up = gate_up.float().chunk(2, dim=-1)
    sigmoid = torch.sigmoid(gate)
    silu, grad = gate * sigmoid, grad.float()
    plain = silu * up
    scaled = grad * scale
    grad_gate = scaled * up * (sigmoid * (1 + gate * (1 - sigmoid)))
    grad_gate_up = torch.cat((grad_gate, scaled * silu), dim=-1).to(gate_up.dtype)
    return (plain * scale).to(gate_up.dtype), grad_gate_up, (grad * plain).sum(-1)


class GroupedExperts(torch.autograd.Function):
    """The experts' mixture for tokens sorted by expert: each expert is two matrix products over its own rows.

    x [N, D], weight and chosen [N, K], gate_up [E, 2I, D], down [E, D, I]; gives [N, D]. A chosen expert's weight is
    applied to its inner activations (the down projection is linear), where it costs least.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, chosen: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        (n, k), experts = chosen.shape, len(gate_up)
        by_expert, order = chosen.flatten().sort(stable=True)
        counts = torch.bincount(by_expert, minlength=experts)
        padded = (counts + PAD_ROWS - 1) // PAD_ROWS * PAD_ROWS
        bounds = [0, *padded.cumsum(0).tolist()]
        # Sorted entry j goes to row j + (padding in front of its expert); padding rows have weight 0.
        rows = torch.arange(n * k) + (padded.cumsum(0) - padded - counts.cumsum(0) + counts)[by_expert]
        token = torch.zeros(bounds[-1], dtype=torch.long).index_copy_(0, rows, order // k)
        scale = torch.zeros(bounds[-1], 1).index_copy_(0, rows, weight.flatten()[order].float()[:, None])
        where = torch.empty(n * k, dtype=torch.long).index_copy_(0, order, rows).view(n, k)
        inner = x.new_empty(bounds[-1], gate_up.shape[1])
        outer = x.new_empty(bounds[-1], x.shape[1])
        for e, (start, end) in enumerate(pairwise(bounds)):
            if start < end:
                rows_in = x.index_select(0, token[start:end])
                torch.mm(rows_in, gate_up[e].t(), out=inner[start:end])
                torch.mm(swiglu(inner[start:end], scale[start:end]), down[e].t(), out=outer[start:end])
        ctx.save_for_backward(x, gate_up, down, token, scale, where, inner)
        ctx.bounds = bounds
        return F.embedding_bag(where, outer, mode="sum")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, gate_up, down, token, scale, where, inner = ctx.saved_tensors
        grad_out = grads[0].contiguous()
        grad_gate_up, grad_down = torch.zeros_like(gate_up), torch.zeros_like(down)
        grad_rows = x.new_empty(len(token), x.shape[1])
        grad_scale = torch.empty(len(token))
        for e, (start, end) in enumerate(pairwise(ctx.bounds)):
            if start < end:
                here = slice(start, end)
                rows_in, rows_out = x.index_select(0, token[here]), grad_out.index_select(0, token[here])
                hidden, grad_inner, grad_scale[here] = swiglu_backward(inner[here], scale[here], rows_out @ down[e])
                torch.mm(rows_out.t(), hidden, out=grad_down[e])
                torch.mm(grad_inner.t(), rows_in, out=grad_gate_up[e])
                torch.mm(grad_inner, gate_up[e], out=grad_rows[here])
        grad_x = F.embedding_bag(where, grad_rows, mode="sum")
        return grad_x, grad_scale[where], None, grad_gate_up, grad_down


def balance_loss(probabilities: Tensor, chosen: Tensor) -> Tensor:
    """Switch-style load balancing for one layer: E * sum(share of choices * mean probability), K when even."""
    experts = probabilities.shape[-1]
    share = torch.bincount(chosen.flatten(), minlength=experts).float() / len(chosen)
    return experts * (share * probabilities.mean(0)).sum()


@fused
def output_logits(x: Tensor, norm: Tensor, head: Tensor, eps: float) -> Tensor:
    """Final norm and head: [N, V]."""
    return F.linear(rms_norm(x, norm, eps), head)


@fused
def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean loss in nats, in FP32."""
    return F.cross_entropy(logits.float(), targets)


def forward(weights: dict[str, Any], config: OlmoeConfig, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, V] and the mean load-balancing loss for tokens [B, T].

    ``weights`` are compute copies as made by ``compute_weights``: the stacked ones as a list over the layers.
    """
    heads, top_k, eps = config.num_attention_heads, config.num_experts_per_tok, config.rms_norm_eps
    cos, sin = rope(tokens.shape[1], config.hidden_size // heads)
    x = F.embedding(tokens.flatten(), weights["embed"])
    mask = torch.full((tokens.shape[1],) * 2, -math.inf, dtype=x.dtype).triu(1)
    balance = torch.zeros(())
    for layer in range(config.num_hidden_layers):
        w = {name: value[layer] for name, value in weights.items() if isinstance(value, list)}
        q, k, v = attention_inputs(x, w["ln1"], w["qkv"], w["q_norm"], w["k_norm"], cos, sin, heads, eps)
        mixed = attention(q, k, v, mask)
        x, h, probabilities = after_attention(x, mixed, w["o"], w["ln2"], w["router"], heads, eps)
        weight, chosen = probabilities.topk(top_k, dim=-1)
        if config.norm_topk_prob:
            weight = weight / weight.sum(-1, keepdim=True)
        experts: Callable[..., Tensor] = GroupedExperts.apply
        x = x + experts(h, weight, chosen, w["gate_up"].flatten(1, 2), w["down"])
        balance = balance + balance_loss(probabilities, chosen) / config.num_hidden_layers
    return output_logits(x, weights["norm"], weights["head"], eps), balance


def rope(length: int, width: int, theta: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding: [T, D/H] each."""
    frequencies = theta ** -(torch.arange(0, width, 2, dtype=torch.float) / width)
    angles = torch.outer(torch.arange(length, dtype=torch.float), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def compute_weights(master: Weights, dtype: torch.dtype) -> dict[str, Any]:
    """Copies for one step, ready to gather gradients: matrices in ``dtype``, norms in FP32, layers as lists."""

    def leaf(value: Tensor) -> Tensor:
        return value.to(dtype if value.dim() > 1 else torch.float, copy=True).requires_grad_()

    return {n: leaf(m) if n in ("embed", "head", "norm") else [leaf(layer) for layer in m] for n, m in master.items()}


def same_values(weights: dict[str, Any]) -> dict[str, Any]:
    """Leaves that share the values of ``weights`` but gather gradients of their own."""

    def leaf(value: Tensor) -> Tensor:
        return value.detach().requires_grad_()

    return {n: [leaf(layer) for layer in w] if isinstance(w, list) else leaf(w) for n, w in weights.items()}


@torch.no_grad()
def copy_values(master: Weights, weights: dict[str, Any]) -> None:
    """Round the masters' values into compute copies."""
    for name, copy in weights.items():
        for to, value in zip(copy, master[name], strict=True) if isinstance(copy, list) else [(copy, master[name])]:
            to.copy_(value)


def take_gradient(weight: Tensor | list[Tensor]) -> Tensor:
    """The gradient gathered by a compute copy, in FP32 and stacked like its master; the copy's is cleared."""
    if isinstance(weight, list):
        return torch.stack([take_gradient(layer) for layer in weight])
    grad, weight.grad = weight.grad, None
    return torch.zeros_like(weight, dtype=torch.float) if grad is None else grad.float()


def checkpoint_tensors(master: Weights) -> Iterator[tuple[str, Tensor]]:
    """The weights under the names and in the shapes of an OLMoE checkpoint, in BF16."""

    def plain(value: Tensor) -> Tensor:
        return value.to(torch.bfloat16).contiguous().clone()

    yield "model.embed_tokens.weight", plain(master["embed"])
    yield "model.norm.weight", plain(master["norm"])
    yield "lm_head.weight", plain(master["head"])
    for layer in range(len(master["qkv"])):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", plain(master["ln1"][layer])
        yield f"{at}.post_attention_layernorm.weight", plain(master["ln2"][layer])
        yield f"{at}.self_attn.q_norm.weight", plain(master["q_norm"][layer])
        yield f"{at}.self_attn.k_norm.weight", plain(master["k_norm"][layer])
        for i, name in enumerate(("q_proj", "k_proj", "v_proj")):
            yield f"{at}.self_attn.{name}.weight", plain(master["qkv"][layer, i])
        yield f"{at}.self_attn.o_proj.weight", plain(master["o"][layer])
        yield f"{at}.mlp.gate.weight", plain(master["router"][layer])
        for expert in range(master["gate_up"].shape[1]):
            to = f"{at}.mlp.experts.{expert}"
            yield f"{to}.gate_proj.weight", plain(master["gate_up"][layer, expert, 0])
            yield f"{to}.up_proj.weight", plain(master["gate_up"][layer, expert, 1])
            yield f"{to}.down_proj.weight", plain(master["down"][layer, expert])


def read_checkpoint(file: Path) -> Weights:
    """The inverse of ``checkpoint_tensors``: FP32 master weights from a saved checkpoint."""
    named = {name: tensor.float() for name, tensor in load_file(file).items()}
    layers = 1 + max(int(name.split(".")[2]) for name in named if name.startswith("model.layers."))
    experts = 1 + max(int(name.split(".")[5]) for name in named if ".experts." in name)

    def stack(pattern: str) -> Tensor:
        return torch.stack([named[f"model.layers.{layer}.{pattern}.weight"] for layer in range(layers)])

    def experts_of(layer: int, kind: str) -> Tensor:
        return torch.stack([named[f"model.layers.{layer}.mlp.experts.{e}.{kind}.weight"] for e in range(experts)])

    gates, ups, downs = (
        torch.stack([experts_of(layer, kind) for layer in range(layers)])
        for kind in ("gate_proj", "up_proj", "down_proj")
    )
    return {
        "embed": named["model.embed_tokens.weight"],
        "head": named["lm_head.weight"],
        "norm": named["model.norm.weight"],
        "ln1": stack("input_layernorm"),
        "ln2": stack("post_attention_layernorm"),
        "q_norm": stack("self_attn.q_norm"),
        "k_norm": stack("self_attn.k_norm"),
        "router": stack("mlp.gate"),
        "qkv": torch.stack([stack(f"self_attn.{kind}_proj") for kind in "qkv"], dim=1),
        "o": stack("self_attn.o_proj"),
        "gate_up": torch.stack((gates, ups), dim=2),
        "down": downs,
    }
