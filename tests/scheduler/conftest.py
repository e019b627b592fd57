"""Fixtures for schedulers: a folder in shared memory, a counter of looks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.arena.shapes import shared_folder
from tests.scheduler.scene import Looks

# Equal examples in every run, and time to think on a busy machine.
settings.load_profile("ci")


@pytest.fixture
def folder() -> Iterator[Path]:
    with shared_folder() as path:
        yield path


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)
