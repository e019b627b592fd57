"""Eager: a checkpoint in transformers, computed as its modelling code says, with no kernel in its place."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tests.system.local_model import THREADS


def eager(checkpoint: Path) -> Any:
    torch.set_num_threads(THREADS)
    return AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.bfloat16, attn_implementation="eager", experts_implementation="eager"
    )
