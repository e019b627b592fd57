"""OLMoE (Muennighoff et al., 2024): norms on the full query and key, softmax router, no shared expert."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from zipmoe.inference.model.arithmetic import Arithmetic, Rows
from zipmoe.inference.model.forecast import Forecast
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.mixture import Mixture
from zipmoe.inference.model.rotary import Rotary
from zipmoe.inference.model.weight import DenseWeights


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
    """The dense weights of a layer, as the arithmetic has them; projections are [out, in]."""

    attention_norm: Any
    query: Any
    key: Any
    value: Any
    output: Any
    query_norm: Any
    key_norm: Any
    moe_norm: Any
    router: Any

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

    def __init__(self, config: OlmoeConfig, dense: DenseWeights, arithmetic: Arithmetic, forecast: int = 0) -> None:
        """`forecast` is how many layers ahead the mixture is told what will probably be wanted of it."""
        self.config = config
        self.arithmetic = arithmetic
        self._forecast = _forecast(config, dense, arithmetic, forecast) if forecast else None
        dense = arithmetic.prepare(dense)
        self._embedding = dense.matrices["model.embed_tokens.weight"]
        self._layers = [Layer.from_dense(dense, layer) for layer in range(config.layers)]
        self._norm = dense.vectors["model.norm.weight"]
        self._head = self._embedding if config.tied else dense.matrices["lm_head.weight"]
        self._rotary = Rotary(config.hidden // config.heads, config.context, config.rope_base)

    def cache(self, capacity: int) -> KVCache:
        config = self.config
        return self.arithmetic.cache(config.layers, config.kv_heads, config.hidden // config.heads, capacity)

    @torch.inference_mode()
    def forward(self, tokens: Tensor, cache: KVCache, mixture: Mixture, last: int = 1) -> Tensor:
        """Runs tokens [T], which follow those in the cache, and returns logits [last, vocabulary] of the last ones."""
        do, config = self.arithmetic, self.config
        x = do.embed(tokens, self._embedding)
        for index, layer in enumerate(self._layers):
            normed = do.norm(x, layer.attention_norm, config.epsilon)
            x = do.add(x, self._attention(index, layer, normed, cache))
            normed = do.norm(x, layer.moe_norm, config.epsilon)
            chosen = do.route(do.linear(normed, layer.router), config.experts_per_token, config.normalise)
            later = self._forecast(index, x) if self._forecast else None
            x = do.add(x, mixture(index, normed, *chosen, later))
        cache.advance(len(tokens))
        return do.logits(do.linear(do.norm(x, self._norm, config.epsilon)[-last:], self._head))

    def _attention(self, index: int, layer: Layer, x: Rows, cache: KVCache) -> Rows:
        do, config = self.arithmetic, self.config
        query = do.norm(do.linear(x, layer.query), layer.query_norm, config.epsilon)
        key = do.norm(do.linear(x, layer.key), layer.key_norm, config.epsilon)
        value = do.linear(x, layer.value)
        if config.clip is not None:
            query, key, value = (do.clip(part, config.clip) for part in (query, key, value))
        query = do.rotate(query, config.heads, self._rotary, cache.length)
        key = do.rotate(key, config.kv_heads, self._rotary, cache.length)
        return do.linear(do.attend(query, key, value, config.heads, cache, index), layer.output)


def _forecast(config: OlmoeConfig, dense: DenseWeights, arithmetic: Arithmetic, depth: int) -> Forecast:
    layers = [Layer.from_dense(dense, layer) for layer in range(config.layers)]
    routers = [(layer.router, layer.moe_norm) for layer in layers]
    return Forecast(arithmetic, routers, config.experts_per_token, config.epsilon, depth)
