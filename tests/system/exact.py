"""OLMoE in FP64: the checkpoint's BF16 weights, and nothing rounded on the way. What both modes are measured against.

T tokens, H hidden width, N heads, D width of a head.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import silu


class Exact:
    def __init__(self, checkpoint: Path) -> None:
        self._config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text())
        self._weights = {name: value.double() for name, value in load_file(checkpoint / "model.safetensors").items()}

    @torch.inference_mode()
    def logits(self, tokens: Tensor) -> Tensor:
        """Of every token [T, vocabulary], given those before it."""
        x = self._weights["model.embed_tokens.weight"][tokens]
        for layer in range(self._config["num_hidden_layers"]):
            at = f"model.layers.{layer}."
            x = x + self._attention(at + "self_attn.", self._norm(x, at + "input_layernorm"))
            x = x + self._experts(at + "mlp.", self._norm(x, at + "post_attention_layernorm"))
        return self._times(self._norm(x, "model.norm"), "lm_head")

    def _attention(self, at: str, x: Tensor) -> Tensor:
        query = self._turned(self._norm(self._times(x, at + "q_proj"), at + "q_norm"))
        key = self._turned(self._norm(self._times(x, at + "k_proj"), at + "k_norm"))
        value = self._heads(self._times(x, at + "v_proj"))
        scores = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
        future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        seen = scores.masked_fill(future, -torch.inf).softmax(-1) @ value
        return self._times(seen.transpose(0, 1).reshape(x.shape), at + "o_proj")

    def _experts(self, at: str, x: Tensor) -> Tensor:
        shares, chosen = self._times(x, at + "gate").softmax(-1).topk(self._config["num_experts_per_tok"])
        if self._config["norm_topk_prob"]:
            shares = shares / shares.sum(-1, keepdim=True)
        out = torch.zeros_like(x)
        for expert in sorted(set(chosen.flatten().tolist())):
            tokens, places = (chosen == expert).nonzero(as_tuple=True)
            here, name = x[tokens], f"{at}experts.{expert}."
            inner = silu(self._times(here, name + "gate_proj")) * self._times(here, name + "up_proj")
            out[tokens] += shares[tokens, places, None] * self._times(inner, name + "down_proj")
        return out

    def _times(self, x: Tensor, name: str) -> Tensor:
        return x @ self._weights[f"{name}.weight"].T

    def _norm(self, x: Tensor, name: str) -> Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self._config["rms_norm_eps"])
        return self._weights[f"{name}.weight"] * x * scale

    def _heads(self, x: Tensor) -> Tensor:
        """[T, H] -> [N, T, D]"""
        return x.view(len(x), self._config["num_attention_heads"], -1).transpose(0, 1)

    def _turned(self, x: Tensor) -> Tensor:
        """By its positions: [T, H] -> [N, T, D]"""
        heads = self._heads(x)
        first, second = heads.chunk(2, dim=-1)
        base = (self._config.get("rope_parameters") or self._config)["rope_theta"]
        turns = base ** -(torch.arange(first.shape[-1], dtype=torch.double) / first.shape[-1])
        angles = torch.arange(len(x), dtype=torch.double)[:, None] * turns
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
