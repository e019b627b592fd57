"""Decoders in the test's own process, over the arena of whatever `stack` a module starts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.system.local_model import LocalModel, local_model
from tests.system.stack import Stack


@pytest.fixture(scope="module")
async def reference(stack: Stack) -> AsyncIterator[LocalModel]:
    async with local_model(stack, "reference") as model:
        yield model


@pytest.fixture(scope="module")
async def fast(stack: Stack) -> AsyncIterator[LocalModel]:
    async with local_model(stack, "fast") as model:
        yield model


@pytest.fixture(scope="module")
def tokenizer(demo_checkpoint: Path) -> Tokenizer:
    return Tokenizer.from_file(str(demo_checkpoint / "tokenizer.json"))
