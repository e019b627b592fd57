"""The promise of the leases, with real processes: what is leased holds its expert's bytes until it is released."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.arena.shapes import header
from zipmoe.arena.arena import Arena

READERS = 3


def hammer(folder: Path, writer: str, changes: int) -> list[tuple[int, int]]:
    """Of each reader its leases and violations, while the writer makes so many changes."""
    Arena.create(folder / "arena", header(4, weights=3 * 128 * 128))
    with ExitStack() as running:
        readers = [_start(running, "reader", folder, seed, changes) for seed in range(READERS)]
        assert _line(_start(running, writer, folder, READERS, changes)) == "done"
        for reader in readers:
            assert reader.stdin is not None
            reader.stdin.close()
        counts = [_line(reader).split() for reader in readers]
    return [(int(leases), int(violations)) for leases, violations in counts]


def test_a_leased_slot_is_never_refilled(folder: Path) -> None:
    readers = hammer(folder, "writer", changes=8000)
    assert all(leases > 100 for leases, _ in readers), readers
    assert all(violations == 0 for _, violations in readers), readers


def test_the_hammer_sees_a_writer_that_does_not_claim(folder: Path) -> None:
    readers = hammer(folder, "careless", changes=500)
    assert any(violations for _, violations in readers), readers


def _start(running: ExitStack, role: str, folder: Path, seed: int, changes: int) -> "subprocess.Popen[str]":
    process = running.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "tests.arena.hammer", role, str(folder / "arena"), str(seed), str(changes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
    )
    running.callback(process.kill)
    assert _line(process) == "ready"
    return process


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
