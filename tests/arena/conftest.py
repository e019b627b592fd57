"""Fixtures for arenas: a folder of their own in shared memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.arena.shapes import shared_folder

# Equal examples in every run, and time to think on a busy machine.
settings.load_profile("ci")


@pytest.fixture
def folder() -> Iterator[Path]:
    with shared_folder() as path:
        yield path
