"""Family: which tensors of a checkpoint are experts. One table entry a family; nothing else here knows a name."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zipmoe.errors import InvalidRequest
from zipmoe.pack.geometry import Geometry
from zipmoe.pack.shard import Tensor


@dataclass(frozen=True, slots=True)
class Family:
    """`prefix` + part + ".weight" names an expert's tensor; the parts are gate, up, down, in the order of a blob."""

    prefix: str
    parts: tuple[str, str, str]
    layers: str  # keys of config.json
    experts: str
    hidden: str
    intermediate: str

    def expert(self, layer: int, expert: int) -> str:
        return self.prefix.format(layer=layer, expert=expert)


FAMILIES: dict[str, Family] = {
    "olmoe": Family(
        prefix="model.layers.{layer}.mlp.experts.{expert}.",
        parts=("gate_proj", "up_proj", "down_proj"),
        layers="num_hidden_layers",
        experts="num_experts",
        hidden="hidden_size",
        intermediate="intermediate_size",
    ),
}


@dataclass(frozen=True, slots=True)
class Run:
    """What becomes one blob: an expert's three tensors, or a dense one. `key` is its (layer, expert), if it is one."""

    name: str
    key: tuple[int, int] | None
    tensors: tuple[Tensor, ...]

    @property
    def weights(self) -> int:
        return sum(tensor.size for tensor in self.tensors) // 2


def geometry(config: Mapping[str, Any]) -> Geometry:
    """A model's sizes from its config.json. InvalidRequest if the family is not supported or a size is missing."""
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise InvalidRequest(f"model_type {model_type!r} is not supported; supported are: {', '.join(FAMILIES)}")
    family = FAMILIES[model_type]

    def size(key: str) -> int:
        value = config.get(key)
        if type(value) is not int or value < 1:
            raise InvalidRequest(f"config.json: {key} is {value!r}, and must be a positive integer; download it again")
        return value

    return Geometry(
        model_type, size(family.layers), size(family.experts), size(family.hidden), size(family.intermediate)
    )


def runs(tensors: Mapping[str, Tensor], sizes: Geometry) -> list[Run]:
    """Every tensor in exactly one run: experts layer by layer, then the dense tensors by name.

    InvalidRequest if an expert's tensor is missing, surplus or of another shape than config.json says."""
    family = FAMILIES[sizes.family]
    up, down = (sizes.intermediate, sizes.hidden), (sizes.hidden, sizes.intermediate)
    experts = [
        Run(name.rstrip("."), key, tuple(_expert_tensors(family, name, (up, up, down), tensors)))
        for key in ((layer, expert) for layer in range(sizes.layers) for expert in range(sizes.experts))
        for name in (family.expert(*key),)
    ]
    taken = {tensor.name for run in experts for tensor in run.tensors}
    alike = re.compile(re.escape(family.prefix).replace(r"\{layer\}", r"\d+").replace(r"\{expert\}", r"\d+"))
    for name in tensors.keys() - taken:
        if alike.match(name):
            raise InvalidRequest(
                f"{name} is an expert's, but config.json has {sizes.layers} layers of {sizes.experts} experts with "
                f"{', '.join(family.parts)}; use the config.json that belongs to this checkpoint"
            )
    return experts + [Run(name, None, (tensors[name],)) for name in sorted(tensors.keys() - taken)]


def _expert_tensors(
    family: Family, name: str, shapes: tuple[tuple[int, int], ...], tensors: Mapping[str, Tensor]
) -> Iterator[Tensor]:
    for part, shape in zip(family.parts, shapes, strict=True):
        tensor = tensors.get(f"{name}{part}.weight")
        if tensor is None:
            raise InvalidRequest(f"the checkpoint lacks {name}{part}.weight; download every shard of it")
        if tensor.shape != shape:
            raise InvalidRequest(
                f"{tensor.name} has shape {list(tensor.shape)}, config.json says {list(shape)}; use the config.json "
                "that belongs to this checkpoint"
            )
        yield tensor
