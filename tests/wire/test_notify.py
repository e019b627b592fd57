"""Readiness: one datagram to whoever asked for it."""

import socket
from pathlib import Path

import pytest

from zipmoe.wire.notify import notify_ready


@pytest.mark.parametrize("abstract", [False, True])
def test_a_supervisor_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind("\0" + path if abstract else path)
        supervisor.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + path if abstract else path)
        notify_ready()
        assert supervisor.recv(100) == b"READY=1"


def test_nobody_is_told_if_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_ready()
