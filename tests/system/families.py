"""Families: small checkpoints with random weights of the models that are run, made by transformers' own classes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from torch import nn

COMMON: Final = {
    "vocab_size": 512,
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 512,
}
LOCAL: Final = {"num_local_experts": 8, "intermediate_size": 64}
QWEN: Final = {"num_experts": 8, "moe_intermediate_size": 64, "intermediate_size": 96}

ROUTED: Final = {"n_routed_experts": 8, "moe_intermediate_size": 64, "intermediate_size": 96}
LATENT: Final = {
    **ROUTED,
    "n_shared_experts": 2,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 24,
    "num_key_value_heads": 4,
}
YARN: Final = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 0.707,
    "mscale_all_dim": 0.5,
}
# Numbers that no rounding hides. Of the tests' texts some are shorter, some longer, and some grow past the border.
BORDER: Final = 68
LONGROPE: Final = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": BORDER,
    "short_factor": [1 + 0.03 * pair for pair in range(16)],
    "long_factor": [1 + 2.0 * pair for pair in range(16)],
    "short_mscale": 1.1,
    "long_mscale": 1.6,
}

# By name: the configuration's class, and what it is given beside COMMON.
MODELS: Final[dict[str, tuple[str, Mapping[str, Any]]]] = {
    "olmoe": ("OlmoeConfig", {"num_experts": 8, "intermediate_size": 64}),
    "olmoe, clipped": ("OlmoeConfig", {"num_experts": 8, "intermediate_size": 64, "clip_qkv": 0.5}),
    "qwen2_moe": ("Qwen2MoeConfig", {**QWEN, "shared_expert_intermediate_size": 96}),
    "qwen2_moe, some dense": (
        "Qwen2MoeConfig",
        {**QWEN, "shared_expert_intermediate_size": 96, "mlp_only_layers": [1], "norm_topk_prob": True},
    ),
    "qwen3_moe": ("Qwen3MoeConfig", {**QWEN, "head_dim": 64, "norm_topk_prob": True}),
    "qwen3_moe, every second": ("Qwen3MoeConfig", {**QWEN, "head_dim": 32, "decoder_sparse_step": 2}),
    "mixtral": ("MixtralConfig", {**LOCAL, "sliding_window": None}),
    "granitemoe": (
        "GraniteMoeConfig",
        {
            **LOCAL,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.0625,
            "logits_scaling": 6.0,
            "tie_word_embeddings": True,
        },
    ),
    "deepseek_v2": (
        "DeepseekV2Config",
        {**LATENT, "q_lora_rank": None, "first_k_dense_replace": 1, "topk_method": "greedy"},
    ),
    "deepseek_v2, grouped and stretched": (
        "DeepseekV2Config",
        {
            **LATENT,
            "q_lora_rank": 48,
            "topk_method": "group_limited_greedy",
            "n_group": 4,
            "topk_group": 2,
            "routed_scaling_factor": 16.0,
            "rope_parameters": YARN,
        },
    ),
    "deepseek_v3": (
        "DeepseekV3Config",
        {**LATENT, "q_lora_rank": 48, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2},
    ),
    "deepseek_v3, stretched": (
        "DeepseekV3Config",
        {
            **LATENT,
            "q_lora_rank": None,
            "first_k_dense_replace": 0,
            "n_group": 1,
            "topk_group": 1,
            "rope_interleave": False,
            "rope_parameters": YARN,
        },
    ),
    "glm4_moe": (
        "Glm4MoeConfig",
        {
            **ROUTED,
            "head_dim": 32,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "use_qk_norm": True,
            "attention_bias": True,
            "routed_scaling_factor": 1.5,
        },
    ),
    "phimoe": ("PhimoeConfig", {**LOCAL, "attention_bias": True, "lm_head_bias": True}),
    "phimoe, stretched": (
        "PhimoeConfig",
        {**LOCAL, "attention_bias": True, "lm_head_bias": True, "rope_parameters": LONGROPE},
    ),
}


def write_checkpoint(name: str, folder: Path) -> None:
    """Every parameter random: what is one or zero in a new model would hide that it is not applied."""
    kind, sizes = MODELS[name]
    make: Callable[..., Any] = getattr(transformers, kind)
    from_config: Callable[..., Any] = transformers.AutoModelForCausalLM.from_config
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = from_config(make(**{**COMMON, **sizes}), dtype=torch.bfloat16)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(1.0 if "norm" in _name(model, parameter) and parameter.dim() == 1 else 0.0, 0.1)
            for module in model.modules():
                if (bias := getattr(module, "e_score_correction_bias", None)) is not None:
                    module.e_score_correction_bias = torch.randn(bias.shape, dtype=torch.float32) / 8
        model.save_pretrained(folder)  # type: ignore[operator]


def _name(model: nn.Module, wanted: nn.Parameter) -> str:
    return next(name for name, parameter in model.named_parameters() if parameter is wanted)
