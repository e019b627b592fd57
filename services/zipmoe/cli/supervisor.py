"""Supervisor: keeps child processes running until it is cancelled, then stops them, last started first.

A child that dies is started again, after a pause that doubles while it keeps failing. A child that ends with exit code
1 before it was ever ready has told a person why: then everything stops.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
# One that ran for this long has recovered: its next pause is the first again.
HEALTHY_SECONDS: Final = 5.0
STOP_SECONDS: Final = 15.0

_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    arguments: tuple[str, ...]


class GaveUp(Exception):
    """A child said with exit code 1 that it cannot run; its argument is the child's name."""


class Child:
    """A command and the process that runs it at present."""

    def __init__(self, command: Command, run: Path) -> None:
        self.command = command
        self.ready = asyncio.Event()
        self._notify = run / f"{command.name}.notify"
        self._process: asyncio.subprocess.Process | None = None

    async def keep_running(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        environment = os.environ | {"NOTIFY_SOCKET": str(self._notify)}
        with _notified(self._notify, self.ready.set):
            while True:
                started = time.monotonic()
                # A session of its own: Ctrl-C reaches the supervisor, which stops the children in its order.
                self._process = await asyncio.create_subprocess_exec(
                    *self.command.arguments, env=environment, preexec_fn=_die_with_parent, start_new_session=True
                )
                code = await self._process.wait()
                if code == 1 and not self.ready.is_set():
                    raise GaveUp(self.command.name)
                if time.monotonic() - started > HEALTHY_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def stop(self) -> None:
        """Asks the process to end, and insists after a while."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def supervise(commands: Sequence[Command], run: Path, ready: Callable[[], None]) -> None:
    """Runs the commands; calls `ready` once all have said that they are. Raises GaveUp."""
    children = [Child(command, run) for command in commands]
    keeping = [asyncio.create_task(child.keep_running()) for child in children]
    all_ready = asyncio.create_task(_all_ready(children, ready))
    try:
        done, _ = await asyncio.wait([*keeping, all_ready], return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in (*keeping, all_ready):
            task.cancel()
        for child in reversed(children):
            await child.stop()


async def _all_ready(children: Sequence[Child], ready: Callable[[], None]) -> None:
    for child in children:
        await child.ready.wait()
    ready()


@contextlib.contextmanager
def _notified(path: Path, ready: Callable[[], None]) -> Iterator[None]:
    """Calls `ready` whenever a process says so at this address (see `wire.notify`)."""
    loop = asyncio.get_running_loop()
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as pipe:
        pipe.bind(str(path))

        def hear() -> None:
            if b"READY=1" in pipe.recv(4096):
                ready()

        loop.add_reader(pipe, hear)
        try:
            yield
        finally:
            loop.remove_reader(pipe)
            path.unlink(missing_ok=True)


def _die_with_parent() -> None:
    """In the child: if the supervisor is killed, end too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
