"""Fixtures for arenas: a folder of their own in shared memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.arena.shapes import shared_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with shared_folder() as path:
        yield path
