"""Stack: the three services as real processes, for tests that start, kill and restart them one by one."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from zipmoe.arena import arena
from zipmoe.v1 import scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import connect
from zipmoe.wire.places import Places

SERVICES = ("expert_store", "scheduler", "inference")
START_SECONDS = 60.0


class Stack:
    """A context manager over a run folder and an arena of its own. `start` what the test needs."""

    def __init__(
        self,
        pack: Path,
        arena_size: str = "30%",
        mode: str = "fast",
        resident: str = "auto",
        pools: str = "",
        forecast: int = 0,
        kv_tokens: int = 8192,
        scheduler: Sequence[str] = (),
        run: Path | None = None,
    ) -> None:
        self.pack = pack
        self.places = Places.under(run or Path(tempfile.mkdtemp(prefix="zipmoe-", dir="/tmp")))
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._options = {
            "expert_store": ["--pack", str(pack), "--arena-size", arena_size, "--resident", resident, "--workers", "2"],
            "scheduler": [*(["--pools", pools] if pools else []), *scheduler],
            "inference": [
                *("--pack", str(pack), "--mode", mode, "--threads", "2"),
                *("--forecast", str(forecast), "--kv-tokens", str(kv_tokens)),
            ],
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in list(self.processes):
            self.kill(name)
        if error is not None:
            print(self.log())
        arena.remove(self.places.arena)
        shutil.rmtree(self.places.run)

    def start(self, *names: str) -> Self:
        """Starts services (all without arguments) and does not wait for them."""
        for name in names or SERVICES:
            where = ["--run", str(self.places.run), "--arena", str(self.places.arena)]
            with open(self.places.run / f"{name}.log", "a") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", f"zipmoe.{name}", *self._options[name], *where],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
        return self

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Sends a signal and waits for the end; returns the exit code."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(START_SECONDS)

    def wait(self, name: str) -> int:
        """Waits until a service ends by itself."""
        return self.processes[name].wait(START_SECONDS)

    def running(self, name: str) -> bool:
        return self.processes[name].poll() is None

    def log(self) -> str:
        """What the services have said."""
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.places.run.glob("*.log")))

    def until(self, name: str, says: str) -> None:
        """Waits for a word in a service's log."""
        deadline = time.monotonic() + START_SECONDS
        path = self.places.run / f"{name}.log"
        while says not in path.read_text():
            assert time.monotonic() < deadline, f"{name} never said {says!r}:\n{self.log()}"
            time.sleep(0.01)

    async def status(self, list_experts: bool = False) -> scheduler_pb2.GetCacheStatusResponse:
        """What the scheduler says of the cache, once it runs."""
        async with connect(self.places.scheduler) as channel:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            request = scheduler_pb2.GetCacheStatusRequest(list_experts=list_experts)
            return await stub.GetCacheStatus(request, wait_for_ready=True, timeout=START_SECONDS)

    def workers(self) -> list[int]:
        """Process ids of the store's workers."""
        store = self.processes["expert_store"].pid
        children = Path(f"/proc/{store}/task/{store}/children").read_text().split()
        return [int(child) for child in children]


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process apart from what it shares through mapped tmpfs files."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(status["VmRSS"].split()[0]) - int(status["RssShmem"].split()[0])) / 1024


def left_behind(places: Places) -> set[str]:
    """Files, and processes that are alive, of the stack that was at these places."""
    files = {str(path) for top in (places.run, places.arena.parent) for path in top.rglob("*")}
    run = os.fsencode(places.run)
    return files | {entry for entry in os.listdir("/proc") if entry.isdigit() and run in _command_line(entry)}


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
