"""GLM-4.5 (GLM-4.5 Team, 2025): half of each head turns, DeepSeek-V3's router, dense layers first."""

from collections.abc import Mapping
from typing import Any

from zipmoe.inference.model.decoder import Config, Stack
from zipmoe.inference.model.families import parts
from zipmoe.inference.model.feedforward import Dense, Sparse
from zipmoe.inference.model.weight import DenseWeights


def glm4_moe(config: Mapping[str, Any], dense: DenseWeights) -> tuple[Config, Stack]:
    config = {"rms_norm_eps": 1e-5, **config}

    def feed(layer: int) -> Dense | Sparse:
        return parts.with_shared(dense, layer, parts.biased(config, dense, layer))

    told = parts.rope(config)
    share = told.get("partial_rotary_factor") or config.get("partial_rotary_factor", 0.5)
    turns = parts.rotary(config, int(parts.head_width(config) * share))
    return parts.config_of(config), parts.stack(config, dense, feed, turns=turns)
