"""Prompts: pieces of the standard library's source, which every machine with Python has."""

import inspect
import json
import random
import textwrap
from collections.abc import Sequence
from types import ModuleType

import torch
from tokenizers import Tokenizer
from torch import Tensor

MODULES: Sequence[ModuleType] = (json, random, textwrap, inspect)


def prompts(tokenizer: Tokenizer, lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    """One prompt a length, in tokens, each from another place of the source."""
    chance = random.Random(seed)
    tokens = tokenizer.encode("".join(inspect.getsource(module) for module in MODULES)).ids
    starts = [chance.randrange(len(tokens) - length) for length in lengths]
    return [torch.tensor(tokens[at : at + length]) for at, length in zip(starts, lengths, strict=True)]
