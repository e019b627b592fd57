"""The promise, in numbers: what is computed over compressed experts in a small arena is what transformers computes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import DynamicCache

from tests.system.eager import eager
from tests.system.local_model import LocalModel, on_thread
from tests.system.prompts import prompts
from tests.system.stack import Stack

LENGTHS = [*range(1, 20), 31, 32, 33, 48, 63, 64, 65, 100, 127, 128, 129, 200, 255, 256, 257, 299, 300]
DECODED = 8


@pytest.fixture(scope="module", params=["pack3", "pack4", "bf16"])
def stack(demo_pack: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """With experts resident in each form."""
    with Stack(demo_pack, arena_size="30%", resident=request.param) as stack:
        yield stack.start("expert_store", "scheduler")


@pytest.fixture(scope="module")
def transformers_model(demo_checkpoint: Path) -> Any:
    return eager(demo_checkpoint)


async def test_reference_logits_are_bit_identical_to_transformers(
    reference: LocalModel, transformers_model: Any, tokenizer: Tokenizer
) -> None:
    for prompt in prompts(tokenizer, LENGTHS):
        text = reference.text(len(prompt) + DECODED)
        theirs = DynamicCache()
        ours = await on_thread(reference.prefill, prompt, text, last=len(prompt))
        with torch.inference_mode():
            expected = transformers_model(prompt[None], past_key_values=theirs).logits[0]
        assert torch.equal(ours, expected), f"prompt of {len(prompt)} tokens"
        for step in range(DECODED):
            token = int(expected[-1].argmax())
            ours = await on_thread(reference.decode, token, text)
            with torch.inference_mode():
                expected = transformers_model(torch.tensor([[token]]), past_key_values=theirs).logits[0]
            assert torch.equal(ours, expected[0]), f"prompt of {len(prompt)} tokens, decoded {step + 1}"
