"""Shape: a model whose routing can be made up, because something is published of it or of one like it."""

from dataclasses import dataclass

from zipmoe.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Shape:
    """`weights` are those of an expert, `statistics` the model whose published routing it follows."""

    experts: int
    k: int
    weights: int
    statistics: str


# Nothing is published of OLMoE's routing. DeepSeek-V2-Lite has as many experts, and a token nearly as many of them.
SHAPES = {
    "olmoe-1b-7b": Shape(64, 8, 3 * 2048 * 1024, "DeepSeek-V2-Lite"),
    "deepseek-v2-lite": Shape(64, 6, 3 * 2048 * 1408, "DeepSeek-V2-Lite"),
}


def shape(name: str) -> Shape:
    """By name. InvalidRequest if there is none of that name."""
    if name not in SHAPES:
        raise InvalidRequest(f"--like {name!r} is not known; known are: {', '.join(SHAPES)}")
    return SHAPES[name]
