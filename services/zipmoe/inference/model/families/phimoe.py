"""Phi-3.5-MoE (Abdin et al., 2024): layer norms, biases everywhere, LongRoPE, two experts chosen one after the
other."""

from collections.abc import Mapping
from typing import Any

from zipmoe.errors import InvalidRequest
from zipmoe.inference.model.decoder import Config, Stack
from zipmoe.inference.model.families import parts
from zipmoe.inference.model.feedforward import Sparse
from zipmoe.inference.model.rotary import Longer, Rotary, longrope
from zipmoe.inference.model.router import SparseMixer
from zipmoe.inference.model.weight import DenseWeights


def phimoe(config: Mapping[str, Any], dense: DenseWeights) -> tuple[Config, Stack]:
    config = {"rms_norm_eps": 1e-5, "rope_theta": 1e6, **config}
    router = SparseMixer(config.get("router_jitter_noise", 0.01))

    def feed(layer: int) -> Sparse:
        return Sparse(dense.matrices[f"model.layers.{layer}.block_sparse_moe.gate.weight"], router)

    return parts.config_of(config), parts.stack(config, dense, feed, turns=rotary(config))


def rotary(config: Mapping[str, Any]) -> Rotary:
    """Raises InvalidRequest for positions of other kinds, to which transformers applies LongRoPE's scales as well.

    With LongRoPE, what is turned is times one number in short sequences and another in longer ones. Frequencies are the
    same in both: transformers (5.23) stretches PhiMoE's by `short_factor` whatever the length, and has no use for
    `long_factor` and `attention_factor`. What it computes is what is computed here.
    """
    width, kind, told = parts.head_width(config), parts.rope_type(config), parts.rope(config)
    if kind == "default":
        return parts.rotary(config, width)
    if kind != "longrope":
        raise InvalidRequest(
            f"config.json: rotary positions of type {kind!r} are not supported for PhiMoE; default and longrope are"
        )
    parts.check_window(config)
    factors, short, long = told["short_factor"], told["short_mscale"], told["long_mscale"]
    if len(factors) != width // 2:
        raise InvalidRequest(
            f"config.json: short_factor has {len(factors)} numbers, a head turns in {width // 2} pairs"
        )
    turning = longrope(width, parts.rope_base(config), factors)
    if short == long:
        # As published: nothing changes at the border, and prompts of any length can share pages.
        return Rotary(turning, short)
    name = "original_max_position_embeddings"
    border = config.get(name) or told.get(name) or config["max_position_embeddings"]
    return Rotary(turning, short, longer=Longer(border, Rotary(turning, long)))
