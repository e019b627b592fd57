"""Parts: what families make their layers of, from a checkpoint's names and config.json. Names that a checkpoint of the
family must have, and does not, are a KeyError."""

from collections.abc import Callable, Mapping
from typing import Any

from zipmoe.errors import InvalidRequest
from zipmoe.inference.model.attention import Attention, Projection
from zipmoe.inference.model.decoder import Config, Layer, Norm, Scales, Stack
from zipmoe.inference.model.feedforward import Dense, Sparse
from zipmoe.inference.model.rotary import Rotary
from zipmoe.inference.model.weight import DenseWeights


def head_width(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def kv_heads(config: Mapping[str, Any]) -> int:
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def config_of(config: Mapping[str, Any]) -> Config:
    return Config(
        context=config["max_position_embeddings"],
        vocabulary=config["vocab_size"],
        experts_per_token=config["num_experts_per_tok"],
        kv_heads=kv_heads(config),
        width=head_width(config),
    )


def rotary(config: Mapping[str, Any]) -> Rotary:
    """Raises InvalidRequest for tables that are stretched, or attention that does not look back all the way."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default":
        raise InvalidRequest(f"config.json: rotary positions of type {kind!r} are not supported yet")
    window, context = config.get("sliding_window"), config["max_position_embeddings"]
    if window is not None and config.get("use_sliding_window", True) and window < context:
        raise InvalidRequest(f"config.json: attention over the last {window} tokens alone is not supported yet")
    base = rope.get("rope_theta") or config.get("rope_theta", 10000.0)
    return Rotary(head_width(config), context, base)


def projection(dense: DenseWeights, name: str) -> Projection:
    """With its bias, if the checkpoint has one."""
    return Projection(dense.matrices[f"{name}.weight"], dense.vectors.get(f"{name}.bias"))


def norm(dense: DenseWeights, name: str) -> Norm:
    return Norm(dense.vectors[f"{name}.weight"], dense.vectors.get(f"{name}.bias"))


def attention(config: Mapping[str, Any], dense: DenseWeights, layer: int, **more: Any) -> Attention:
    """With norms on queries and keys, if the checkpoint has them."""
    at = f"model.layers.{layer}.self_attn."
    return Attention(
        heads=config["num_attention_heads"],
        kv_heads=kv_heads(config),
        query=projection(dense, at + "q_proj"),
        key=projection(dense, at + "k_proj"),
        value=projection(dense, at + "v_proj"),
        output=projection(dense, at + "o_proj"),
        query_norm=dense.vectors.get(at + "q_norm.weight"),
        key_norm=dense.vectors.get(at + "k_norm.weight"),
        epsilon=config["rms_norm_eps"],
        **more,
    )


def feed_forward(dense: DenseWeights, name: str) -> Dense:
    return Dense(*(dense.matrices[f"{name}.{part}_proj.weight"] for part in ("gate", "up", "down")))


def head(config: Mapping[str, Any], dense: DenseWeights) -> Projection:
    """What makes logits: its own weight, or the embedding's again."""
    if config.get("tie_word_embeddings", False) or "lm_head.weight" not in dense.matrices:
        return Projection(dense.matrices["model.embed_tokens.weight"])
    return projection(dense, "lm_head")


def stack(
    config: Mapping[str, Any],
    dense: DenseWeights,
    feed: Callable[[int], Dense | Sparse],
    scales: Scales = Scales(),
    **attending: Any,
) -> Stack:
    """Layers as most families have them, over what `feed` makes of each layer's number."""

    def layer(number: int) -> Layer:
        at = f"model.layers.{number}."
        before, after = norm(dense, at + "input_layernorm"), norm(dense, at + "post_attention_layernorm")
        return Layer(before, attention(config, dense, number, **attending), after, feed(number))

    return Stack(
        embedding=dense.matrices["model.embed_tokens.weight"],
        layers=[layer(number) for number in range(config["num_hidden_layers"])],
        norm=norm(dense, "model.norm"),
        head=head(config, dense),
        epsilon=config["rms_norm_eps"],
        rotary=rotary(config),
        scales=scales,
    )
