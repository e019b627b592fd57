"""Fixtures for schedulers: a folder in shared memory, a counter of looks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.arena.shapes import shared_folder
from tests.scheduler.scene import Looks


@pytest.fixture
def folder() -> Iterator[Path]:
    with shared_folder() as path:
        yield path


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)
