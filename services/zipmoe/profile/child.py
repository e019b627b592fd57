"""Child: a process that lives no longer than the body of its `with`, nor than its parent."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final

STOP_SECONDS: Final = 10.0

_PR_SET_PDEATHSIG: Final = 1
# Looked up before any child is: between fork and exec little is safe to do.
_prctl = ctypes.CDLL(None).prctl

Child = subprocess.Popen[str]


@contextmanager
def child(
    module: str,
    *arguments: object,
    stdin: int | None = None,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
) -> Iterator[Child]:
    """Runs `python -m MODULE ARGUMENTS` during the body; asks it to end afterwards, and insists after a while."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    # A service that is only measured has nobody to tell that it is ready (see `wire.notify`).
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    # A session of its own: Ctrl-C reaches the parent, which ends its children in its order.
    with subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env=environment,
        preexec_fn=_die_with_parent,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
            finally:
                process.kill()


def _die_with_parent() -> None:
    """In the child: if the parent is killed, end too."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
