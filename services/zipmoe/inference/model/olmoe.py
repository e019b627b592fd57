"""OLMoE (Muennighoff et al., 2024): norms on the full query and key, softmax router, no shared expert."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from zipmoe.inference.model.arithmetic import Arithmetic
from zipmoe.inference.model.blocks import Mixture, Rotary, attend, rms_norm, rotate, route
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.weight import DenseWeights, Weight


@dataclass(frozen=True, slots=True)
class OlmoeConfig:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    experts_per_token: int
    normalise: bool
    context: int
    vocabulary: int
    epsilon: float
    rope_base: float
    clip: float | None
    tied: bool

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """From a checkpoint's config.json."""
        rope = config.get("rope_parameters") or {}
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            heads=config["num_attention_heads"],
            kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
            experts_per_token=config["num_experts_per_tok"],
            normalise=config.get("norm_topk_prob", False),
            context=config["max_position_embeddings"],
            vocabulary=config["vocab_size"],
            epsilon=config.get("rms_norm_eps", 1e-5),
            rope_base=rope.get("rope_theta") or config.get("rope_theta", 10000.0),
            clip=config.get("clip_qkv"),
            tied=config.get("tie_word_embeddings", False),
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """The dense weights of a layer; projections are [out, in]."""

    attention_norm: Tensor
    query: Weight
    key: Weight
    value: Weight
    output: Weight
    query_norm: Tensor
    key_norm: Tensor
    moe_norm: Tensor
    router: Weight

    @classmethod
    def from_dense(cls, dense: DenseWeights, layer: int) -> Self:
        at = f"model.layers.{layer}."
        return cls(
            attention_norm=dense.vectors[at + "input_layernorm.weight"],
            query=dense.matrices[at + "self_attn.q_proj.weight"],
            key=dense.matrices[at + "self_attn.k_proj.weight"],
            value=dense.matrices[at + "self_attn.v_proj.weight"],
            output=dense.matrices[at + "self_attn.o_proj.weight"],
            query_norm=dense.vectors[at + "self_attn.q_norm.weight"],
            key_norm=dense.vectors[at + "self_attn.k_norm.weight"],
            moe_norm=dense.vectors[at + "post_attention_layernorm.weight"],
            router=dense.matrices[at + "mlp.gate.weight"],
        )


class Olmoe:
    """The decoder without its experts: those are asked for, layer by layer, from the mixture it is given."""

    def __init__(self, config: OlmoeConfig, dense: DenseWeights, arithmetic: Arithmetic) -> None:
        self.config = config
        self.arithmetic = arithmetic
        self._embedding = dense.matrices["model.embed_tokens.weight"]
        self._layers = [Layer.from_dense(dense, layer) for layer in range(config.layers)]
        self._norm = dense.vectors["model.norm.weight"]
        self._head = self._embedding if config.tied else dense.matrices["lm_head.weight"]
        self._rotary = Rotary(config.hidden // config.heads, config.context, config.rope_base)

    def cache(self, capacity: int) -> KVCache:
        config = self.config
        return KVCache(config.layers, config.kv_heads, config.hidden // config.heads, capacity)

    @torch.inference_mode()
    def forward(self, tokens: Tensor, cache: KVCache, mixture: Mixture, last: int = 1) -> Tensor:
        """Runs tokens [T], which follow those in the cache, and returns logits [last, vocabulary] of the last ones."""
        x, epsilon = self.arithmetic.embed(tokens, self._embedding), self.config.epsilon
        cos, sin = self._rotary.at(cache.length, len(tokens))
        for index, layer in enumerate(self._layers):
            x = x + self._attention(
                index, layer, rms_norm(x, layer.attention_norm, self.config.epsilon), cos, sin, cache
            )
            normed = rms_norm(x, layer.moe_norm, self.config.epsilon)
            logits = self.arithmetic.linear(normed, layer.router)
            x = x + mixture(index, normed, *route(logits, self.config.experts_per_token, self.config.normalise))
        cache.advance(len(tokens))
        return self.arithmetic.linear(rms_norm(x, self._norm, epsilon)[-last:], self._head)

    def _attention(self, index: int, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor, cache: KVCache) -> Tensor:
        config, multiply = self.config, self.arithmetic.linear
        query = rms_norm(multiply(x, layer.query), layer.query_norm, config.epsilon)
        key = rms_norm(multiply(x, layer.key), layer.key_norm, config.epsilon)
        value = multiply(x, layer.value)
        if config.clip is not None:
            query, key, value = (part.clamp(-config.clip, config.clip) for part in (query, key, value))
        query, key = rotate(_heads(query, config.heads), cos, sin), rotate(_heads(key, config.kv_heads), cos, sin)
        key, value = cache.extend(index, key, _heads(value, config.kv_heads))
        return multiply(attend(query, key, value), layer.output)


def _heads(x: Tensor, heads: int) -> Tensor:
    """[T, N·D] -> [N, T, D]"""
    return x.view(len(x), heads, -1).transpose(0, 1)
