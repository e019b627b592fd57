"""Leases: shared by readers, exclusive for the scheduler, and gone with whoever held them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zipmoe.arena.leases import MOST_WORKERS, WORKERS, Leases

HOLD = """
import sys
from pathlib import Path
from zipmoe.arena.leases import Leases
leases = Leases(Path(sys.argv[1]))
assert getattr(leases, sys.argv[2])(int(sys.argv[3]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "arena"


@pytest.fixture
def reader(path: Path) -> Iterator[Leases]:
    leases = Leases(path)
    yield leases
    leases.close()


@pytest.fixture
def scheduler(path: Path) -> Iterator[Leases]:
    leases = Leases(path)
    yield leases
    leases.close()


def test_many_share_a_lease(path: Path, reader: Leases) -> None:
    another = Leases(path)
    assert reader.lease(3)
    assert another.lease(3)
    another.close()


def test_a_range_is_released_at_once_and_no_other(reader: Leases, scheduler: Leases) -> None:
    for byte in (3, 4, 6, 8):
        assert reader.lease(byte)
    reader.release(4, 4)
    assert [scheduler.claim(byte) for byte in (3, 4, 6, 8)] == [False, True, True, False]


def test_no_claim_while_anybody_reads(path: Path, reader: Leases, scheduler: Leases) -> None:
    another = Leases(path)
    assert reader.lease(3)
    assert another.lease(3)
    assert not scheduler.claim(3)
    reader.release(3)
    assert not scheduler.claim(3)
    another.release(3)
    assert scheduler.claim(3)
    another.close()


def test_no_lease_while_the_record_is_claimed(reader: Leases, scheduler: Leases) -> None:
    with scheduler.claimed(3) as claimed:
        assert claimed
        assert not reader.lease(3)
        assert reader.lease(2)
        assert reader.lease(4)
    assert reader.lease(3)


def test_a_claim_ends_with_an_error_in_its_body(reader: Leases, scheduler: Leases) -> None:
    with pytest.raises(ZeroDivisionError), scheduler.claimed(3):
        raise ZeroDivisionError
    assert reader.lease(3)


def test_held_sees_others_and_not_its_own(reader: Leases, scheduler: Leases) -> None:
    assert not scheduler.held(0, 8)
    assert reader.lease(3)
    assert scheduler.held(3)
    assert scheduler.held(0, 8)
    assert not scheduler.held(4, 8)
    assert not reader.held(0, 8)


def test_closing_drops_all(path: Path, scheduler: Leases) -> None:
    reader = Leases(path)
    assert all(reader.lease(expert) for expert in range(8))
    reader.close()
    assert not scheduler.held(0, 8)


@pytest.mark.parametrize(("how", "byte"), [("lease", 3), ("claim", WORKERS + MOST_WORKERS - 1)])
def test_a_killed_process_holds_nothing(path: Path, scheduler: Leases, how: str, byte: int) -> None:
    command = [sys.executable, "-c", HOLD, str(path), how, str(byte)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert scheduler.held(byte)
        assert not scheduler.claim(byte)
        holder.kill()
        holder.wait()
        assert not scheduler.held(byte)
        assert scheduler.claim(byte)
