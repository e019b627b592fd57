"""Qwen3-MoE (Yang et al., 2025): heads of a width of their own, a norm on each head of query and key."""

from collections.abc import Mapping
from typing import Any

from zipmoe.inference.model.decoder import Config, Stack
from zipmoe.inference.model.families import parts
from zipmoe.inference.model.feedforward import Dense, Sparse
from zipmoe.inference.model.router import SoftmaxTopK
from zipmoe.inference.model.weight import DenseWeights
from zipmoe.pack.family import sparse_layers


def qwen3_moe(config: Mapping[str, Any], dense: DenseWeights) -> tuple[Config, Stack]:
    config = {"rms_norm_eps": 1e-6, "head_dim": 128, **config}
    router = SoftmaxTopK(config["num_experts_per_tok"], config.get("norm_topk_prob", False))
    sparse = frozenset(sparse_layers(config))

    def feed(layer: int) -> Dense | Sparse:
        at = f"model.layers.{layer}.mlp"
        if layer not in sparse:
            return parts.feed_forward(dense, at)
        return Sparse(dense.matrices[f"{at}.gate.weight"], router)

    return parts.config_of(config), parts.stack(config, dense, feed)
