"""Mixtral (Jiang et al., 2024): two of eight large experts, whose weights add up to 1."""

from collections.abc import Mapping
from typing import Any

from zipmoe.inference.model.decoder import Config, Stack
from zipmoe.inference.model.families import parts
from zipmoe.inference.model.feedforward import Sparse
from zipmoe.inference.model.router import SoftmaxTopK
from zipmoe.inference.model.weight import DenseWeights


def mixtral(config: Mapping[str, Any], dense: DenseWeights) -> tuple[Config, Stack]:
    config = {"rms_norm_eps": 1e-5, "rope_theta": 1e6, **config}
    router = SoftmaxTopK(config["num_experts_per_tok"], normalise=True, rounded=False)

    def feed(layer: int) -> Sparse:
        return Sparse(dense.matrices[f"model.layers.{layer}.block_sparse_moe.gate.weight"], router)

    return parts.config_of(config), parts.stack(config, dense, feed)
