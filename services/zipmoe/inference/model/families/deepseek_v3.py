"""DeepSeek-V3 and R1 (DeepSeek-AI, 2024): as DeepSeek-V2, with a router that balances by a bias."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from zipmoe.inference.model.decoder import Config, Stack
from zipmoe.inference.model.families import parts
from zipmoe.inference.model.feedforward import Dense, Sparse
from zipmoe.inference.model.rotary import Pairs
from zipmoe.inference.model.weight import DenseWeights


def deepseek_v3(config: Mapping[str, Any], dense: DenseWeights) -> tuple[Config, Stack]:
    config = {"rms_norm_eps": 1e-6, **config}

    def feed(layer: int) -> Dense | Sparse:
        return parts.with_shared(dense, layer, parts.biased(config, dense, layer))

    attend = partial(parts.latent_attention, config, dense)
    pairs = Pairs.PARTED if config.get("rope_interleave", True) else Pairs.HALVES
    turns = parts.rotary(config, config["qk_rope_head_dim"], pairs)
    return parts.latent_config_of(config), parts.stack(config, dense, feed, attend=attend, turns=turns)
