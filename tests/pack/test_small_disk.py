"""A disk that is really full: a tmpfs of a few pages, which only root may mount."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pack.heard import Heard
from zipmoe.errors import DiskFull
from zipmoe.pack import writer
from zipmoe.pack.verify import verify
from zipmoe.pack.writer import pack

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"this machine mounts no tmpfs: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_is_refused_before_anything_is_written(small_disk: Path, checkpoint: Path) -> None:
    with pytest.raises(DiskFull, match=r"packing needs about .* are free"):
        pack(checkpoint, small_disk / "packed")


def test_fills_up_and_goes_on_when_there_is_room(
    small_disk: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SPARE", 0.0)
    with pytest.raises(DiskFull, match=r"is full, 0\.0 MiB are free: make room, then run the same command again"):
        pack(checkpoint, small_disk / "packed")
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    heard = Heard()
    pack(checkpoint, small_disk / "packed", progress=heard)
    assert heard.resumed > 0
    verify(small_disk / "packed", checkpoint)
