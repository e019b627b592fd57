"""Preset: a model's config.json, and the few scalars that its statistics come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from zipmoe.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was calibrated with `zipmoe synth --measure`; shares are of a variance, strengths relative to the stream."""

    constant: float = 0.016  # share of the stream that every token has in common: static popularity
    context: float = 5.0  # strength of the first layer's attention, which brings context to the router
    attention: float = 0.2  # strength of the other layers' attention
    experts: float = 0.2  # strength of what the experts add: the same token is routed anew in every layer
    locality: float = 0.7  # share of a query and a key that is the same for all tokens: near ones attend to each other
    sharpness: float = 1.5  # standard deviation of attention scores, were there no locality
    router: float = 1.5  # standard deviation of a token's router logits


@dataclass(frozen=True, slots=True)
class Preset:
    name: str
    config: Mapping[str, Any]  # the model's own config.json
    tuning: Tuning

    def with_layers(self, layers: int | None) -> "Preset":
        """The same with fewer or more layers. InvalidRequest if there are none."""
        if layers is None:
            return self
        if layers < 1:
            raise InvalidRequest(f"--layers is {layers}: a model has at least 1")
        config = MappingProxyType({**self.config, "num_hidden_layers": layers})
        return Preset(self.name, config, self.tuning)


def preset(name: str) -> Preset:
    """By name. InvalidRequest if there is none of that name."""
    if name not in PRESETS:
        raise InvalidRequest(f"--like {name!r} is not known; known are: {', '.join(PRESETS)}")
    return PRESETS[name]


_COMMON: dict[str, Any] = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "dtype": "bfloat16",
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "norm_topk_prob": False,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "tie_word_embeddings": False,
    "use_cache": True,
}
_OLMOE: dict[str, Any] = _COMMON | {
    "architectures": ["OlmoeForCausalLM"],
    "clip_qkv": None,
    "eos_token_id": 50279,
    "hidden_size": 2048,
    "intermediate_size": 1024,
    "max_position_embeddings": 4096,
    "model_type": "olmoe",
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 16,
    "output_router_logits": False,
    "pad_token_id": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "router_aux_loss_coef": 0.01,
    "vocab_size": 50304,
}
_TINY: dict[str, Any] = _OLMOE | {
    "eos_token_id": 1023,
    "hidden_size": 128,
    "intermediate_size": 64,
    "max_position_embeddings": 2048,
    "num_attention_heads": 4,
    "num_experts": 32,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "vocab_size": 1024,
}
_QWEN: dict[str, Any] = _COMMON | {
    "architectures": ["Qwen2MoeForCausalLM"],
    "bos_token_id": 151643,
    "decoder_sparse_step": 1,
    "eos_token_id": 151643,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "max_position_embeddings": 8192,
    "max_window_layers": 21,
    "mlp_only_layers": [],
    "model_type": "qwen2_moe",
    "moe_intermediate_size": 1408,
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "output_router_logits": False,
    "qkv_bias": True,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "shared_expert_intermediate_size": 5632,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
_DEEPSEEK: dict[str, Any] = _COMMON | {
    "architectures": ["DeepseekV2ForCausalLM"],
    "aux_loss_alpha": 0.001,
    "bos_token_id": 100000,
    "eos_token_id": 100001,
    "first_k_dense_replace": 1,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v2",
    "moe_intermediate_size": 1408,
    "moe_layer_freq": 1,
    "n_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 27,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 0.707,
        "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 1.0,
    "scoring_func": "softmax",
    "seq_aux": True,
    "topk_group": 1,
    "topk_method": "greedy",
    "v_head_dim": 128,
    "vocab_size": 102400,
}

# A narrow model has few directions: by chance, tokens have more in common already.
_NARROW = Tuning(constant=0.003, context=10.0, locality=0.8, sharpness=1.2)

PRESETS: dict[str, Preset] = {
    made.name: made
    for made in (
        Preset("olmoe-1b-7b", MappingProxyType(_OLMOE), Tuning()),
        Preset("qwen1.5-moe", MappingProxyType(_QWEN), Tuning()),
        Preset("deepseek-v2-lite", MappingProxyType(_DEEPSEEK), Tuning()),
        Preset("tiny", MappingProxyType(_TINY), _NARROW),
    )
}
