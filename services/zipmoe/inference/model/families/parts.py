"""Parts: what families make their layers of, from a checkpoint's names and config.json. Names that a checkpoint of the
family must have, and does not, are a KeyError."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from zipmoe.errors import InvalidRequest
from zipmoe.inference.model.attention import Attention, Projection
from zipmoe.inference.model.decoder import Config, Layer, Norm, Scales, Stack
from zipmoe.inference.model.feedforward import Dense, Shared, Sparse
from zipmoe.inference.model.latent import LatentAttention
from zipmoe.inference.model.rotary import Pairs, Rotary, frequencies, magnitude, yarn
from zipmoe.inference.model.router import BiasedTopK, Grouped, Router
from zipmoe.inference.model.weight import DenseWeights, plain
from zipmoe.pack.family import sparse_layers

PLAIN: Final = Scales()


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
        key_width=head_width(config),
        value_width=head_width(config),
    )


def latent_config_of(config: Mapping[str, Any]) -> Config:
    """Where a token keeps one latent for all heads."""
    width = config["kv_lora_rank"] + config["qk_rope_head_dim"]
    return replace(config_of(config), kv_heads=1, key_width=width, value_width=0)


def rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What config.json says of rotary positions, whichever way it says it."""
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def rope_type(config: Mapping[str, Any]) -> str:
    told = rope(config)
    return str(told.get("rope_type") or told.get("type") or "default")


def rope_base(config: Mapping[str, Any]) -> float:
    return float(rope(config).get("rope_theta") or config.get("rope_theta", 10000.0))


def check_window(config: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for attention that does not look back all the way."""
    window, context = config.get("sliding_window"), config["max_position_embeddings"]
    if window is not None and config.get("use_sliding_window", True) and window < context:
        raise InvalidRequest(f"config.json: attention over the last {window} tokens alone is not supported yet")


def rotary(config: Mapping[str, Any], width: int, pairs: Pairs = Pairs.HALVES) -> Rotary:
    """Of `width` numbers of a head. Raises InvalidRequest for positions that are stretched in another way than YaRN's,
    or attention that does not look back all the way."""
    check_window(config)
    base, kind = rope_base(config), rope_type(config)
    if kind == "default":
        return Rotary(frequencies(width, base), pairs=pairs)
    if kind == "yarn":
        return Rotary(*yarn(width, base, config["max_position_embeddings"], rope(config)), pairs)
    raise InvalidRequest(f"config.json: rotary positions of type {kind!r} are not supported; default and yarn are")


def projection(dense: DenseWeights, name: str) -> Projection:
    """With its bias, if the checkpoint has one."""
    return Projection(dense.matrices[f"{name}.weight"], dense.vectors.get(f"{name}.bias"))


def norm(dense: DenseWeights, name: str) -> Norm:
    return Norm(dense.vectors[f"{name}.weight"], dense.vectors.get(f"{name}.bias"))


def attention(
    config: Mapping[str, Any],
    dense: DenseWeights,
    layer: int,
    scale: float | None = None,
    clip: float | None = None,
) -> Attention:
    """With norms on queries and keys, if the checkpoint has them. Scores are times `scale`, by default one over the
    root of a head's width."""
    at = f"model.layers.{layer}.self_attn."
    return Attention(
        heads=config["num_attention_heads"],
        kv_heads=kv_heads(config),
        scale=head_width(config) ** -0.5 if scale is None else scale,
        query=projection(dense, at + "q_proj"),
        key=projection(dense, at + "k_proj"),
        value=projection(dense, at + "v_proj"),
        output=projection(dense, at + "o_proj"),
        query_norm=dense.vectors.get(at + "q_norm.weight"),
        key_norm=dense.vectors.get(at + "k_norm.weight"),
        epsilon=config["rms_norm_eps"],
        clip=clip,
    )


def feed_forward(dense: DenseWeights, name: str) -> Dense:
    return Dense(*(dense.matrices[f"{name}.{part}_proj.weight"] for part in ("gate", "up", "down")))


def head(config: Mapping[str, Any], dense: DenseWeights) -> Projection:
    """What makes logits: its own weight, or the embedding's again."""
    if config.get("tie_word_embeddings", False) or "lm_head.weight" not in dense.matrices:
        return Projection(dense.matrices["model.embed_tokens.weight"])
    return projection(dense, "lm_head")


def latent_attention(config: Mapping[str, Any], dense: DenseWeights, layer: int) -> LatentAttention:
    at, plain, told = f"model.layers.{layer}.self_attn.", config["qk_nope_head_dim"], rope(config)
    narrow = f"{at}q_a_proj.weight" in dense.matrices
    scale = (plain + config["qk_rope_head_dim"]) ** -0.5
    if rope_type(config) != "default" and told.get("mscale_all_dim"):
        scale *= magnitude(told["factor"], told["mscale_all_dim"]) ** 2
    return LatentAttention(
        heads=config["num_attention_heads"],
        plain=plain,
        rank=config["kv_lora_rank"],
        scale=scale,
        query=projection(dense, at + ("q_b_proj" if narrow else "q_proj")),
        latent=projection(dense, at + "kv_a_proj_with_mqa"),
        latent_norm=dense.vectors[at + "kv_a_layernorm.weight"],
        expand=dense.matrices[at + "kv_b_proj.weight"],
        output=projection(dense, at + "o_proj"),
        narrow=projection(dense, at + "q_a_proj") if narrow else None,
        narrow_norm=dense.vectors[at + "q_a_layernorm.weight"] if narrow else None,
    )


def with_shared(dense: DenseWeights, layer: int, router: Router | None) -> Dense | Sparse:
    """The feed-forward of DeepSeek's layers: experts beside those that all tokens have, and a router that scores in
    FP32. Those without a router are dense."""
    at = f"model.layers.{layer}.mlp"
    if router is None:
        return feed_forward(dense, at)
    shared = Shared(feed_forward(dense, f"{at}.shared_experts"))
    return Sparse(dense.matrices[f"{at}.gate.weight"], router, shared, wide=True)


def biased(config: Mapping[str, Any], dense: DenseWeights, layer: int) -> BiasedTopK | None:
    if layer not in sparse_layers(config):
        return None
    return BiasedTopK(
        k=config["num_experts_per_tok"],
        scale=config.get("routed_scaling_factor", 1.0),
        normalise=config.get("norm_topk_prob", True),
        grouped=Grouped(config.get("n_group") or 1, config.get("topk_group") or 1),
        bias=plain(dense.vectors[f"model.layers.{layer}.mlp.gate.e_score_correction_bias"]),
    )


def stack(
    config: Mapping[str, Any],
    dense: DenseWeights,
    feed: Callable[[int], Dense | Sparse],
    scales: Scales = PLAIN,
    attend: Callable[[int], Attention | LatentAttention] | None = None,
    turns: Rotary | None = None,
) -> Stack:
    """Layers as most families have them, over what `feed` makes of each layer's number. `attend` and `turns`, where
    attention is another than the usual."""
    attend = attend or partial(attention, config, dense)

    def layer(number: int) -> Layer:
        at = f"model.layers.{number}."
        before, after = norm(dense, at + "input_layernorm"), norm(dense, at + "post_attention_layernorm")
        return Layer(before, attend(number), after, feed(number))

    return Stack(
        embedding=dense.matrices["model.embed_tokens.weight"],
        layers=[layer(number) for number in range(config["num_hidden_layers"])],
        norm=norm(dense, "model.norm"),
        head=head(config, dense),
        epsilon=config["rms_norm_eps"],
        rotary=turns or rotary(config, head_width(config)),
        scales=scales,
    )
