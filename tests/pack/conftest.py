"""One small checkpoint, and packs of it, for the tests that do not change them."""

from pathlib import Path

import pytest

from tests.pack.checkpoints import Words, random_words, write
from zipmoe.pack.codec import CODECS
from zipmoe.pack.writer import pack


@pytest.fixture(scope="session")
def words() -> Words:
    return random_words(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, words: Words) -> Path:
    return write(tmp_path_factory.mktemp("checkpoint"), words)


@pytest.fixture(scope="session")
def packs(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> dict[str, Path]:
    """By codec."""
    folder = tmp_path_factory.mktemp("packs")
    for name in CODECS:
        pack(checkpoint, folder / name, name)
    return {name: folder / name for name in CODECS}
