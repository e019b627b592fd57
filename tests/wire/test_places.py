"""Places: sockets with names that the kernel takes, arenas that keep apart."""

import argparse
from pathlib import Path

import pytest

from zipmoe.errors import InvalidRequest
from zipmoe.wire import places
from zipmoe.wire.places import Places


def test_a_socket_path_that_is_too_long_is_refused() -> None:
    fits = Path("/" + "a" * (107 - len("//scheduler.sock")))
    assert len(Places.under(fits).scheduler) == len("unix:") + 107
    with pytest.raises(InvalidRequest, match="too long for a socket's name: choose a shorter run folder"):
        _ = Places.under(fits.with_name(fits.name + "a")).scheduler


def test_length_counts_bytes() -> None:
    with pytest.raises(InvalidRequest):
        _ = Places.under(Path("/" + "ä" * 60)).scheduler


def test_two_run_folders_have_two_arenas() -> None:
    one, other = Places.under(Path("/tmp/a/run")), Places.under(Path("/tmp/b/run"))
    assert one.arena == Path("/dev/shm/tmp-a-run/arena")
    assert one.arena != other.arena


def test_what_is_named_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIPMOE_RUN", "/tmp/from-environment")
    monkeypatch.setenv("ZIPMOE_ARENA", "/dev/shm/from-environment")
    parser = argparse.ArgumentParser()
    places.add_arguments(parser)
    assert places.from_arguments(parser.parse_args([])) == Places(
        Path("/tmp/from-environment"), Path("/dev/shm/from-environment")
    )
    named = parser.parse_args(["--run", "/tmp/named", "--arena", "/dev/shm/named"])
    assert places.from_arguments(named) == Places(Path("/tmp/named"), Path("/dev/shm/named"))
