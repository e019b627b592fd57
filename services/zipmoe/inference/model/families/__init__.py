"""Families: which decoder runs a checkpoint, by its model_type. One file a family, over shared blocks."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from zipmoe.errors import InvalidRequest
from zipmoe.inference.model.arithmetic import Arithmetic
from zipmoe.inference.model.decoder import Config, Decoder, Stack
from zipmoe.inference.model.families.deepseek_v2 import deepseek_v2
from zipmoe.inference.model.families.deepseek_v3 import deepseek_v3
from zipmoe.inference.model.families.glm4_moe import glm4_moe
from zipmoe.inference.model.families.granitemoe import granitemoe
from zipmoe.inference.model.families.mixtral import mixtral
from zipmoe.inference.model.families.olmoe import olmoe
from zipmoe.inference.model.families.phimoe import phimoe
from zipmoe.inference.model.families.qwen2_moe import qwen2_moe
from zipmoe.inference.model.families.qwen3_moe import qwen3_moe
from zipmoe.inference.model.feedforward import Sparse
from zipmoe.inference.model.forecast import Forecast
from zipmoe.inference.model.weight import DenseWeights

# From a checkpoint's config.json and its weights as the arithmetic has them.
Family: TypeAlias = Callable[[Mapping[str, Any], DenseWeights], tuple[Config, Stack]]

FAMILIES: Final[dict[str, Family]] = {
    "olmoe": olmoe,
    "qwen2_moe": qwen2_moe,
    "qwen3_moe": qwen3_moe,
    "mixtral": mixtral,
    "deepseek_v2": deepseek_v2,
    "deepseek_v3": deepseek_v3,
    "glm4_moe": glm4_moe,
    "granitemoe": granitemoe,
    "phimoe": phimoe,
}


def decoder(config: Mapping[str, Any], dense: DenseWeights, arithmetic: Arithmetic, forecast: int = 0) -> Decoder:
    """It tells its mixture what the next `forecast` layers will probably want. Raises InvalidRequest for a model_type
    that no family here runs, or a config.json that asks for what its family does not do here."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        raise InvalidRequest(
            f"model_type {config.get('model_type')!r} is not supported; supported are: {', '.join(FAMILIES)}"
        )
    try:
        made, stack = family(config, arithmetic.prepare(dense))
        ahead = _forecast(arithmetic, *family(config, dense), forecast) if forecast else None
    except KeyError as missing:
        raise InvalidRequest(f"config.json or the weights lack {missing}; use those that belong together") from None
    return Decoder(made, stack, arithmetic, ahead)


def _forecast(arithmetic: Arithmetic, config: Config, stack: Stack, depth: int) -> Forecast:
    """From a stack that no arithmetic has prepared."""
    sparse = [(layer.feed, layer.feed_norm) for layer in stack.layers if isinstance(layer.feed, Sparse)]
    routers = [(feed.weight, norm.weight) for feed, norm in sparse]
    return Forecast(arithmetic, routers, config.experts_per_token, stack.epsilon, depth)
