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
    "phimoe": ("PhimoeConfig", {**LOCAL, "attention_bias": True, "lm_head_bias": True}),
}


def write_checkpoint(name: str, folder: Path) -> None:
    """Every parameter random: what is one or zero in a new model would hide that it is not applied."""
    kind, sizes = MODELS[name]
    make: Callable[..., Any] = getattr(transformers, kind)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = transformers.AutoModelForCausalLM.from_config(make(**COMMON, **sizes), dtype=torch.bfloat16)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(1.0 if "norm" in _name(model, parameter) and parameter.dim() == 1 else 0.0, 0.1)
        model.save_pretrained(folder)  # type: ignore[operator]


def _name(model: nn.Module, wanted: nn.Parameter) -> str:
    return next(name for name, parameter in model.named_parameters() if parameter is wanted)
