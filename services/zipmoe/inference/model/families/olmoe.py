"""OLMoE (Muennighoff et al., 2024): norms on the full query and key, softmax router, no shared expert."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from zipmoe.inference.model.decoder import Config, Stack
from zipmoe.inference.model.families import parts
from zipmoe.inference.model.feedforward import Sparse
from zipmoe.inference.model.router import SoftmaxTopK
from zipmoe.inference.model.weight import DenseWeights


def olmoe(config: Mapping[str, Any], dense: DenseWeights) -> tuple[Config, Stack]:
    config = {"rms_norm_eps": 1e-5, **config}
    router = SoftmaxTopK(config["num_experts_per_tok"], config.get("norm_topk_prob", False))

    attend = partial(parts.attention, config, dense, clip=config.get("clip_qkv"))

    def feed(layer: int) -> Sparse:
        return Sparse(dense.matrices[f"model.layers.{layer}.mlp.gate.weight"], router)

    return parts.config_of(config), parts.stack(config, dense, feed, attend=attend)
