"""Shape: a model whose routing can be made up, because something is published of it or of one like it."""

from dataclasses import dataclass

from zipmoe.errors import InvalidRequest
from zipmoe.synth.preset import preset


@dataclass(frozen=True, slots=True)
class Shape:
    """`weights` are those of an expert, `statistics` the model whose published routing it follows."""

    experts: int
    k: int
    weights: int
    statistics: str


# Of which statistics are published, for a model of which there are none.
ANY = "DeepSeek-V2-Lite"

# Nothing is published of OLMoE's routing. DeepSeek-V2-Lite has as many experts, and a token nearly as many of them.
SHAPES = {"olmoe-1b-7b": ANY, "deepseek-v2-lite": ANY}


def shape(name: str) -> Shape:
    """By name. InvalidRequest if there is none of that name."""
    if name not in SHAPES:
        raise InvalidRequest(f"--like {name!r} is not known; known are: {', '.join(SHAPES)}")
    config = preset(name).config
    experts = config.get("num_experts") or config["n_routed_experts"]
    inner = config.get("moe_intermediate_size") or config["intermediate_size"]
    return Shape(experts, config["num_experts_per_tok"], 3 * config["hidden_size"] * inner, SHAPES[name])
