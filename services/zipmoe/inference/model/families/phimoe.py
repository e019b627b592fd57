"""Phi-3.5-MoE (Abdin et al., 2024): layer norms, biases everywhere, two experts chosen one after the other."""

from collections.abc import Mapping
from typing import Any

from zipmoe.inference.model.decoder import Config, Stack
from zipmoe.inference.model.families import parts
from zipmoe.inference.model.feedforward import Sparse
from zipmoe.inference.model.router import SparseMixer
from zipmoe.inference.model.weight import DenseWeights


def phimoe(config: Mapping[str, Any], dense: DenseWeights) -> tuple[Config, Stack]:
    config = {"rms_norm_eps": 1e-5, "rope_theta": 1e6, **config}
    router = SparseMixer(config.get("router_jitter_noise", 0.01))

    def feed(layer: int) -> Sparse:
        return Sparse(dense.matrices[f"model.layers.{layer}.block_sparse_moe.gate.weight"], router)

    return parts.config_of(config), parts.stack(config, dense, feed)
