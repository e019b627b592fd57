"""Alone: a contestant's process in a control group, what it says, and why it ended if it should not have."""

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.group import Group
from zipmoe.arena import arena
from zipmoe.wire.places import Places

ROOT = Path(__file__).parent.parent.parent


@dataclass(slots=True)
class Heard:
    """`phases` by their names; `failure` says why there are not all of them."""

    started: float
    phases: dict[str, dict[str, Any]] = field(default_factory=dict)
    failure: str = ""


def alone(
    command: Sequence[str], group: Group, seconds: float, log: Path, paused: Callable[[], object] = lambda: None
) -> Heard:
    """Ends it, and all it has started, when its time is up. `paused` is called where it pauses, outside of its time."""
    with log.open("w") as errors:
        heard = Heard(time.monotonic())
        killed, pipe = group.killed(), subprocess.PIPE
        with subprocess.Popen(group.within(command), cwd=ROOT, stdin=pipe, stdout=pipe, stderr=errors) as process:
            in_time = _listen(process, heard, heard.started + seconds, paused)
            end(group)
        code = process.returncode
    if not in_time:
        heard.failure = f"not done within {seconds:.0f} s"
    elif group.killed() > killed:
        heard.failure = "killed: it wanted more memory than the limit"
    elif code:
        heard.failure = said(log) or f"ended with exit code {code}"
    return heard


def end(group: Group) -> None:
    """Ends what runs in the group."""
    processes = group.processes()
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=30)


def said(log: Path) -> str:
    """The last line."""
    return next((line.strip() for line in reversed(log.read_text().splitlines()) if line.strip()), "")[:200]


@contextmanager
def cold(name: str, limit: int | None) -> Iterator[tuple[Group, Path]]:
    """A control group on a machine without page cache, and a folder for services to run in. Neither they nor their
    arena stay behind, however they end."""
    drop_caches()
    group = Group.made(name, limit)
    with tempfile.TemporaryDirectory(prefix=f"zipmoe-{name}-", dir="/tmp", ignore_cleanup_errors=True) as run:
        try:
            yield group, Path(run)
        finally:
            end(group)
            arena.remove(Places.under(Path(run)).arena)
            drop_caches()
            group.remove()


def drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _listen(process: "subprocess.Popen[bytes]", heard: Heard, deadline: float, paused: Callable[[], object]) -> bool:
    """Until it ends; False if that comes too late."""
    assert process.stdin is not None
    assert process.stdout is not None
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        rest = b""
        while (left := deadline - time.monotonic()) > 0:
            if not ready.select(left):
                return False
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return True
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if not line.startswith(b'{"phase"'):
                    continue
                told = json.loads(line)
                phase = told.pop("phase")
                if phase == "pause":
                    began = time.monotonic()
                    paused()
                    deadline += time.monotonic() - began
                    with suppress(BrokenPipeError):
                        process.stdin.write(b"\n")
                        process.stdin.flush()
                else:
                    heard.phases[phase] = told
    return False
