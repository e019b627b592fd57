"""GraniteMoE (IBM, 2024): factors on the embedding, on what each block adds, on scores and on logits; a router that
weighs those it has chosen alone."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from zipmoe.inference.model.decoder import Config, Scales, Stack
from zipmoe.inference.model.families import parts
from zipmoe.inference.model.feedforward import Sparse
from zipmoe.inference.model.router import TopKSoftmax
from zipmoe.inference.model.weight import DenseWeights


def granitemoe(config: Mapping[str, Any], dense: DenseWeights) -> tuple[Config, Stack]:
    config = {"rms_norm_eps": 1e-6, **config}
    router = TopKSoftmax(config["num_experts_per_tok"])
    scales = Scales(
        embedding=config.get("embedding_multiplier", 1.0),
        residual=config.get("residual_multiplier", 1.0),
        logits=config.get("logits_scaling", 1.0),
    )

    def feed(layer: int) -> Sparse:
        return Sparse(dense.matrices[f"model.layers.{layer}.block_sparse_moe.router.layer.weight"], router)

    attend = partial(parts.attention, config, dense, scale=config.get("attention_multiplier", 1.0))
    return parts.config_of(config), parts.stack(config, dense, feed, scales, attend)
