"""Fixtures for arenas: a folder of their own in shared memory, and one that is soon full."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.arena.shapes import shared_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with shared_folder() as path:
        yield path


@pytest.fixture
def small_tmpfs(folder: Path) -> Iterator[Path]:
    """One MiB of shared memory."""
    mounted = folder / "small"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mounted], capture_output=True).returncode:
        pytest.skip("only root may mount a tmpfs of its own")
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)
