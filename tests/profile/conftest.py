"""Fixtures for profiles: a small pack, and a cache of the test's own."""

from pathlib import Path

import pytest

from tests.pack.checkpoints import random_words, write
from zipmoe.pack.writer import pack


@pytest.fixture(scope="session")
def small_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six experts of odd sizes, so that samples are the whole of it."""
    folder = tmp_path_factory.mktemp("profile")
    pack(write(folder / "checkpoint", random_words(5)), folder / "small.zipmoe")
    return folder / "small.zipmoe"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZIPMOE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
