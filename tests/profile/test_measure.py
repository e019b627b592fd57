"""Measuring, with real processes: numbers come out, and nothing stays, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zipmoe.errors import CorruptExpert
from zipmoe.pack.reader import Pack
from zipmoe.pack.writer import pack as write_pack
from zipmoe.profile import kept
from zipmoe.profile.multiply import ROWS
from zipmoe.profile.profile import profile

COMMAND = str(Path(sys.executable).with_name("zipmoe"))


def processes(cache: Path) -> set[str]:
    """Process ids of all that was started with this cache, but for us."""
    mark, found = os.fsencode(f"ZIPMOE_CACHE={cache}"), set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if mark in Path(f"/proc/{entry}/environ").read_bytes():
                found.add(entry)
        except OSError:
            continue
    return found - {str(os.getpid())}


def test_the_command_measures_once_and_shows_it(small_pack: Path, cache: Path) -> None:
    shown = [
        subprocess.run([COMMAND, "profile", small_pack], capture_output=True, text=True, timeout=60) for _ in range(2)
    ]
    for run in shown:
        assert run.returncode == 0, run.stderr
        assert all(word in run.stdout for word in ("readers at once", "zstd", "pack3", "a missing expert"))
    assert shown[0].stdout == shown[1].stdout
    assert processes(cache) == set()
    with Pack.open(small_pack) as pack:
        found = kept.load(pack)
    # What is kept is checked to be positive and finite as it is read.
    assert found is not None
    assert sorted(found.rates.decode) == ["lz4", "pack3", "pack4", "raw", "zstd"]
    assert sorted(found.rates.multiply) == ["bf16", "pack3", "pack4"]
    assert list(found.rates.multiply["pack3"]) == list(ROWS)
    assert 1 in found.rates.disk
    # Not even on the slowest machine a second, and never for nothing.
    assert 1e-5 < found.rates.acquire < 1
    assert 1e-5 < found.rates.acquire_cpu < 1


@pytest.mark.parametrize("step", ["decoding raw", "acquiring"])
def test_told_to_end_it_leaves_nothing(small_pack: Path, cache: Path, step: str) -> None:
    command = [sys.executable, "-m", "zipmoe.profile", str(small_pack)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(json.loads(line)["step"][2] == step for line in process.stdout)
        (folder,) = Path("/dev/shm").glob(f"zipmoe-profile-{process.pid}-*")
        if step == "acquiring":
            # In the middle of it: the arena is there.
            while not (folder / "arena").exists():
                assert process.poll() is None
                time.sleep(0.005)
        # Twice: each thread of a parent that is killed tells it so.
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
    assert not folder.exists()
    assert processes(cache) == set()


def test_a_damaged_pack_is_named(tmp_path: Path, small_pack: Path, cache: Path) -> None:
    damaged = tmp_path / "damaged.zipmoe"
    write_pack(small_pack.with_name("checkpoint"), damaged)
    with (damaged / "experts.bin").open("r+b") as file:
        file.write(b"\xff" * 4096)
    with pytest.raises(CorruptExpert, match=r"experts\.bin"):
        profile(damaged)
    assert processes(cache) == set()
    assert not cache.exists()
