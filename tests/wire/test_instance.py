"""One instance a socket: a second one is refused by name, and a killed one is no obstacle."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zipmoe.errors import InvalidRequest
from zipmoe.wire.instance import only_instance

HOLD = """
import sys
from zipmoe.wire.instance import only_instance
with only_instance(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/run/scheduler.sock"


def start(address: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_instance_is_refused_with_the_owners_process(address: str) -> None:
    with (
        start(address) as owner,
        pytest.raises(InvalidRequest, match=rf"scheduler\.sock is in use by process {owner.pid}: stop that"),
        only_instance(address),
    ):
        pass


def test_a_killed_instance_holds_nothing(address: str) -> None:
    with start(address) as owner:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    with only_instance(address), pytest.raises(InvalidRequest, match=f"process {os.getpid()}:"), only_instance(address):
        pass


def test_instances_of_two_services_do_not_meet(address: str, tmp_path: Path) -> None:
    with only_instance(address), only_instance(f"unix:{tmp_path}/run/inference.sock"):
        pass


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_the_socket_goes_with_its_instance(address: str, error: type[BaseException] | None) -> None:
    socket = Path(address.removeprefix("unix:"))
    try:
        with only_instance(address):
            socket.touch()
            if error is not None:
                raise error
    except KeyboardInterrupt:
        pass
    assert not socket.exists()


def test_a_refused_instance_leaves_the_socket(address: str) -> None:
    socket = Path(address.removeprefix("unix:"))
    with only_instance(address):
        socket.touch()
        with pytest.raises(InvalidRequest), only_instance(address):
            pass
        assert socket.exists()


def test_ports_are_guarded_by_the_kernel() -> None:
    with only_instance("127.0.0.1:50051"), only_instance("127.0.0.1:50051"):
        pass
