"""Telling a supervisor that a service is ready: systemd's protocol (sd_notify), which `zipmoe up` speaks as well."""

import os
import socket


def notify_ready() -> None:
    """Sends READY=1 to $NOTIFY_SOCKET, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as pipe:
        # A name that begins with @ is systemd's way to write an abstract socket.
        pipe.connect("\0" + address[1:] if address.startswith("@") else address)
        pipe.send(b"READY=1")
