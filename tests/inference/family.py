"""Family: transformers' own OLMoE modules, small, random and in BF16, to compare blocks with."""

from typing import Any

import torch
from torch import Tensor
from transformers.models.olmoe import configuration_olmoe, modeling_olmoe

# Typed in part only.
theirs: Any = modeling_olmoe

HIDDEN, HEADS, WIDTH, EXPERTS, TOP = 64, 4, 16, 8, 3


def config(kv_heads: int = HEADS, normalise: bool = False) -> Any:
    make: Any = configuration_olmoe.OlmoeConfig
    return make(
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=kv_heads,
        num_experts=EXPERTS,
        num_experts_per_tok=TOP,
        norm_topk_prob=normalise,
        max_position_embeddings=128,
        vocab_size=128,
        attn_implementation="eager",
        experts_implementation="eager",
    )


def noise(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    """Random BF16."""
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).to(torch.bfloat16)


def same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
