"""Qwen1.5-MoE and Qwen2-MoE (Yang et al., 2024): biases on query, key and value, a shared expert with a gate, and
layers without experts where config.json says so."""

from collections.abc import Mapping
from typing import Any

from zipmoe.inference.model.decoder import Config, Stack
from zipmoe.inference.model.families import parts
from zipmoe.inference.model.feedforward import Dense, Shared, Sparse
from zipmoe.inference.model.router import SoftmaxTopK
from zipmoe.inference.model.weight import DenseWeights
from zipmoe.pack.family import sparse_layers


def qwen2_moe(config: Mapping[str, Any], dense: DenseWeights) -> tuple[Config, Stack]:
    config = {"rms_norm_eps": 1e-6, **config}
    router = SoftmaxTopK(config["num_experts_per_tok"], config.get("norm_topk_prob", False))
    sparse = frozenset(sparse_layers(config))

    def feed(layer: int) -> Dense | Sparse:
        at = f"model.layers.{layer}.mlp"
        if layer not in sparse:
            return parts.feed_forward(dense, at)
        gate = dense.matrices[f"{at}.shared_expert_gate.weight"]
        shared = Shared(parts.feed_forward(dense, f"{at}.shared_expert"), gate)
        return Sparse(dense.matrices[f"{at}.gate.weight"], router, shared)

    return parts.config_of(config), parts.stack(config, dense, feed)
