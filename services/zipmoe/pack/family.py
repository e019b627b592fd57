"""Family: which tensors of a checkpoint are experts. One table entry a family; nothing else here knows a name."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from zipmoe.errors import InvalidRequest
from zipmoe.pack.geometry import Geometry
from zipmoe.pack.shard import Tensor


@dataclass(frozen=True, slots=True)
class Family:
    """`prefix` + part + ".weight" names an expert's tensor; the parts are gate, up, down, in the order of a blob. Where
    a layer's experts are `fused`, there are two, all experts' gate and up [E, 2I, H] and all their down [E, H, I]."""

    prefix: str
    parts: tuple[str, ...]
    experts: str  # keys of config.json
    intermediate: str
    layers: str = "num_hidden_layers"
    hidden: str = "hidden_size"
    fused: bool = False

    def expert(self, layer: int, expert: int) -> str:
        """An expert's name, which its tensors' begin with unless they are fused."""
        name = self.prefix + "experts.{expert}." if self.fused else self.prefix
        return name.format(layer=layer, expert=expert)

    def is_expert(self, name: str) -> bool:
        """Whether a tensor of this name is one of experts."""
        parts = "|".join(self.parts) if self.fused else ""
        number = re.escape(self.prefix).replace(r"\{layer\}", r"\d+").replace(r"\{expert\}", r"\d+")
        return re.match(f"{number}(?:{parts})", name) is not None


_MLP: Final = "model.layers.{layer}.mlp.experts.{expert}."
_BLOCK: Final = "model.layers.{layer}.block_sparse_moe."
_GATE_UP_DOWN: Final = ("gate_proj", "up_proj", "down_proj")
_QWEN: Final = Family(_MLP, _GATE_UP_DOWN, experts="num_experts", intermediate="moe_intermediate_size")
_DEEPSEEK: Final = replace(_QWEN, experts="n_routed_experts")
_MIXTRAL: Final = Family(
    _BLOCK + "experts.{expert}.", ("w1", "w3", "w2"), experts="num_local_experts", intermediate="intermediate_size"
)

FAMILIES: Final[dict[str, Family]] = {
    "olmoe": Family(_MLP, _GATE_UP_DOWN, experts="num_experts", intermediate="intermediate_size"),
    "qwen2_moe": _QWEN,
    "qwen3_moe": _QWEN,
    "mixtral": _MIXTRAL,
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "glm4_moe": _DEEPSEEK,
    "phimoe": _MIXTRAL,
    "granitemoe": Family(
        _BLOCK,
        ("input_linear", "output_linear"),
        experts="num_local_experts",
        intermediate="intermediate_size",
        fused=True,
    ),
}


def sparse_layers(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The numbers of the layers that have experts, all or those that config.json names."""
    layers, step = range(config["num_hidden_layers"]), config.get("decoder_sparse_step") or 1
    dense = frozenset(config.get("mlp_only_layers") or ())
    first = config.get("first_k_dense_replace") or 0
    return tuple(layer for layer in layers if layer >= first and layer not in dense and (layer + 1) % step == 0)


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

    # One name of it in the checkpoints that authors publish, the other in those that transformers saves again.
    experts = family.experts if family.experts in config else "num_local_experts"

    def size(key: str) -> int:
        value = config.get(key)
        if type(value) is not int or value < 1:
            raise InvalidRequest(f"config.json: {key} is {value!r}, and must be a positive integer; download it again")
        return value

    size(family.layers)
    if not (layers := sparse_layers(config)):
        raise InvalidRequest("config.json: no layer has experts; ZipMoE is for models that have some")
    return Geometry(model_type, layers, size(experts), size(family.hidden), size(family.intermediate))


def runs(tensors: Mapping[str, Tensor], sizes: Geometry) -> list[Run]:
    """Every tensor in exactly one run: experts layer by layer, then the dense tensors by name.

    InvalidRequest if an expert's tensor is missing, surplus or of another shape than config.json says."""
    family = FAMILIES[sizes.family]
    tensors = {name: tensor for name, tensor in tensors.items() if not _drafts(name, sizes)}
    experts = [
        Run(family.expert(sizes.sparse[layer], expert).rstrip("."), (layer, expert), tuple(parts))
        for layer in range(sizes.layers)
        for expert in range(sizes.experts)
        for parts in (_expert_tensors(family, sizes, sizes.sparse[layer], expert, tensors),)
    ]
    taken = {tensor.name for run in experts for tensor in run.tensors}
    for name in tensors.keys() - taken:
        if family.is_expert(name):
            raise InvalidRequest(
                f"{name} is an expert's, but config.json has {sizes.layers} layers of {sizes.experts} experts with "
                f"{', '.join(family.parts)}; use the config.json that belongs to this checkpoint"
            )
    return experts + [Run(name, None, (tensors[name],)) for name in sorted(tensors.keys() - taken)]


def _drafts(name: str, sizes: Geometry) -> bool:
    """Whether it is of a layer behind the last, which only guesses further tokens: DeepSeek-V3 and GLM-4.5 have one. No
    family here has dense layers at its end."""
    layer = re.match(r"model\.layers\.(\d+)\.", name)
    drafting = sizes.family in ("deepseek_v3", "glm4_moe")
    return drafting and layer is not None and int(layer[1]) > sizes.sparse[-1]


def _expert_tensors(
    family: Family, sizes: Geometry, layer: int, expert: int, tensors: Mapping[str, Tensor]
) -> Iterator[Tensor]:
    inner, hidden = sizes.intermediate, sizes.hidden
    if not family.fused:
        for part, shape in zip(family.parts, ((inner, hidden), (inner, hidden), (hidden, inner)), strict=True):
            yield _tensor(f"{family.expert(layer, expert)}{part}.weight", shape, tensors)
        return
    for part, rows, columns in zip(family.parts, (2 * inner, hidden), (hidden, inner), strict=True):
        name = f"{family.prefix.format(layer=layer)}{part}.weight"
        whole = _tensor(name, (sizes.experts, rows, columns), tensors)
        size = whole.size // sizes.experts
        yield replace(whole, shape=(rows, columns), offset=whole.offset + expert * size, size=size)


def _tensor(name: str, shape: tuple[int, ...], tensors: Mapping[str, Tensor]) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None:
        raise InvalidRequest(f"the checkpoint lacks {name}; download every shard of it")
    if tensor.shape != shape:
        raise InvalidRequest(
            f"{name} has shape {list(tensor.shape)}, config.json says {list(shape)}; use the config.json that belongs "
            "to this checkpoint"
        )
    return tensor
