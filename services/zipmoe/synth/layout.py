"""Layout: names and shapes of a family's tensors, as its checkpoints have them. Nothing here knows a weight."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from math import prod
from typing import Any


class Role(Enum):
    """What a tensor does; its weights are made for that."""

    EMBEDDING = auto()
    HEAD = auto()
    NORM = auto()
    QUERY_KEY_NORM = auto()
    QUERY_KEY = auto()
    VALUE = auto()
    OUTPUT = auto()
    BIAS = auto()
    ROUTER = auto()
    GATE_UP = auto()
    DOWN = auto()
    SHARED_DOWN = auto()  # of a network that every token passes


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor to be made: [out, in] or [width]. Those outside of the layers are of layer -1."""

    name: str
    shape: tuple[int, ...]
    role: Role
    layer: int = -1

    @property
    def weights(self) -> int:
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes in BF16."""
        return 2 * self.weights


def layout(config: Mapping[str, Any]) -> list[Entry]:
    """Every tensor of the model, in the order of its computation."""
    layer = {"olmoe": _olmoe, "qwen2_moe": _qwen2_moe, "deepseek_v2": _deepseek_v2}[config["model_type"]]
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    return [
        Entry("model.embed_tokens.weight", (vocabulary, hidden), Role.EMBEDDING),
        *(
            Entry(f"model.layers.{index}.{name}.{kind}", shape, role, index)
            for index in range(config["num_hidden_layers"])
            for name, shape, role in layer(config, index)
            for kind in ("bias" if role is Role.BIAS else "weight",)
        ),
        Entry("model.norm.weight", (hidden,), Role.NORM),
        Entry("lm_head.weight", (vocabulary, hidden), Role.HEAD),
    ]


Part = tuple[str, tuple[int, ...], Role]


def _olmoe(config: Mapping[str, Any], _: int) -> Iterator[Part]:
    hidden = config["hidden_size"]
    yield from _attention(hidden)
    yield "self_attn.q_norm", (hidden,), Role.QUERY_KEY_NORM
    yield "self_attn.k_norm", (hidden,), Role.QUERY_KEY_NORM
    yield from _norms(hidden)
    yield from _experts(config["num_experts"], hidden, config["intermediate_size"])


def _qwen2_moe(config: Mapping[str, Any], _: int) -> Iterator[Part]:
    hidden = config["hidden_size"]
    yield from _attention(hidden)
    for name in ("q_proj", "k_proj", "v_proj"):
        yield f"self_attn.{name}", (hidden,), Role.BIAS
    yield from _norms(hidden)
    yield from _experts(config["num_experts"], hidden, config["moe_intermediate_size"])
    shared = config["shared_expert_intermediate_size"]
    yield from _network("mlp.shared_expert", hidden, shared, Role.SHARED_DOWN)
    yield "mlp.shared_expert_gate", (1, hidden), Role.GATE_UP


def _deepseek_v2(config: Mapping[str, Any], layer: int) -> Iterator[Part]:
    hidden, heads, latent = config["hidden_size"], config["num_attention_heads"], config["kv_lora_rank"]
    plain, turned, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    yield "self_attn.q_proj", (heads * (plain + turned), hidden), Role.VALUE
    yield "self_attn.kv_a_proj_with_mqa", (latent + turned, hidden), Role.VALUE
    yield "self_attn.kv_a_layernorm", (latent,), Role.NORM
    yield "self_attn.kv_b_proj", (heads * (plain + value), latent), Role.VALUE
    yield "self_attn.o_proj", (hidden, heads * value), Role.OUTPUT
    yield from _norms(hidden)
    if layer < config["first_k_dense_replace"]:
        yield from _network("mlp", hidden, config["intermediate_size"], Role.SHARED_DOWN)
        return
    width = config["moe_intermediate_size"]
    yield from _experts(config["n_routed_experts"], hidden, width)
    yield from _network("mlp.shared_experts", hidden, config["n_shared_experts"] * width, Role.SHARED_DOWN)


def _attention(hidden: int) -> Iterator[Part]:
    for name, role in (("q", Role.QUERY_KEY), ("k", Role.QUERY_KEY), ("v", Role.VALUE), ("o", Role.OUTPUT)):
        yield f"self_attn.{name}_proj", (hidden, hidden), role


def _norms(hidden: int) -> Iterator[Part]:
    yield "input_layernorm", (hidden,), Role.NORM
    yield "post_attention_layernorm", (hidden,), Role.NORM


def _experts(experts: int, hidden: int, width: int) -> Iterator[Part]:
    yield "mlp.gate", (experts, hidden), Role.ROUTER
    for expert in range(experts):
        yield from _network(f"mlp.experts.{expert}", hidden, width, Role.DOWN)


def _network(name: str, hidden: int, width: int, down: Role) -> Iterator[Part]:
    yield f"{name}.gate_proj", (width, hidden), Role.GATE_UP
    yield f"{name}.up_proj", (width, hidden), Role.GATE_UP
    yield f"{name}.down_proj", (hidden, width), down
