"""DeepSeek-V2 (DeepSeek-AI, 2024): latent attention, experts that all tokens have, routing within groups, dense layers
first."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from zipmoe.inference.model.decoder import Config, Stack
from zipmoe.inference.model.families import parts
from zipmoe.inference.model.feedforward import Dense, Sparse
from zipmoe.inference.model.rotary import Pairs
from zipmoe.inference.model.router import Grouped, ScaledTopK
from zipmoe.inference.model.weight import DenseWeights
from zipmoe.pack.family import sparse_layers


def deepseek_v2(config: Mapping[str, Any], dense: DenseWeights) -> tuple[Config, Stack]:
    config = {"rms_norm_eps": 1e-6, **config}
    groups = Grouped(config["n_group"], config["topk_group"]) if config.get("topk_method") != "greedy" else None
    router = ScaledTopK(config["num_experts_per_tok"], config.get("routed_scaling_factor", 1.0), groups)
    sparse = frozenset(sparse_layers(config))

    def feed(layer: int) -> Dense | Sparse:
        return parts.with_shared(dense, layer, router if layer in sparse else None)

    attend = partial(parts.latent_attention, config, dense)
    turns = parts.rotary(config, config["qk_rope_head_dim"], Pairs.NEIGHBOURS)
    return parts.latent_config_of(config), parts.stack(config, dense, feed, attend=attend, turns=turns)
