"""Project: the services in containers, by the commands that a person would give."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from tests.project.modules import REPOSITORY
from zipmoe.v1 import scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import connect

PORT: Final = 50151
# Health is asked for often, so that a test need not wait for its change.
HEALTH_SECONDS: Final = 4
START_SECONDS: Final = 60.0
MIB: Final = 1 << 20


class Project:
    """`settings` is what `zipmoe env` has printed, after `plan`."""

    services = ("expert_store", "scheduler", "inference")

    def __init__(self, image: str, pack: Path, folder: Path) -> None:
        self.image = image
        self.pack = pack
        self.folder = folder
        self.settings: dict[str, str] = {}
        self.name = "zipmoe-test"
        self.address = f"localhost:{PORT}"

    def plan(self, room: int) -> None:
        """Asks for the least memory that would do and `room` bytes more; by a container, as docs/edge.md says."""
        refused = self._env("1MiB")
        least = re.search(r"ask for (\d+) MiB", refused.stderr)
        assert least is not None, refused.stderr
        made = self._env(f"{int(least[1]) + room // MIB}MiB")
        assert made.returncode == 0, made.stderr
        (self.folder / "env").write_text(made.stdout)
        lines = [line for line in made.stdout.splitlines() if not line.startswith("#")]
        self.settings = dict(line.split("=", 1) for line in lines)

    def compose(self, *arguments: str, files: tuple[str, ...] = (), code: int = 0, **settings: str) -> str:
        """What docker-compose says, with these files over compose.yaml. It must end with this code."""
        overlaid = [option for file in ("compose.yaml", *files) for option in ("-f", str(REPOSITORY / file))]
        command = [*_compose(), "--project-name", self.name, "--env-file", str(self.folder / "env"), *overlaid]
        ours = {
            "ZIPMOE_IMAGE": self.image,
            "ZIPMOE_PUBLISH": f"127.0.0.1:{PORT}",
            "ZIPMOE_HEALTH_INTERVAL": f"{HEALTH_SECONDS}s",
        }
        environment = {**os.environ, **ours, **settings}
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == code, f"{arguments}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr * bool(code)

    def container(self, service: str) -> str:
        """Its id."""
        labels = {"project": self.name, "service": service, "oneoff": "False"}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        return docker("ps", "--all", "--quiet", "--no-trunc", *filters).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("inspect", self.container(service)))[0]
        return found

    def process(self, service: str) -> psutil.Process:
        """The container's first process; when it is killed, the container ends."""
        return psutil.Process(self.inspect(service)["State"]["Pid"])

    def kill(self, service: str) -> None:
        """-9, as the kernel does it for want of memory: the engine starts the container anew, after a pause."""
        process = self.process(service)
        process.kill()
        until(lambda: not process.is_running(), f"{service} is gone")

    def health(self, service: str) -> str:
        return str(self.inspect(service)["State"]["Health"]["Status"])

    def until_healthy(self, *services: str) -> None:
        for service in services or self.services:
            until(lambda of=service: self.health(of) == "healthy", f"{service} is healthy")  # type: ignore[misc]

    def volume(self, name: str) -> Path:
        """Where it lies for us, who are root."""
        return Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", f"{self.name}_{name}").strip())

    async def status(self) -> scheduler_pb2.GetCacheStatusResponse:
        """What the scheduler says of the cache, once it runs."""
        async with connect(f"unix:{self.volume('sockets')}/scheduler.sock") as channel:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            request = scheduler_pb2.GetCacheStatusRequest(list_experts=True)
            return await stub.GetCacheStatus(request, wait_for_ready=True, timeout=START_SECONDS)

    def left_behind(self) -> list[str]:
        """What the engine still has of it, and what is still mounted."""
        label = f"--filter=label=com.docker.compose.project={self.name}"
        kinds = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
        found = [line for kind in kinds for line in docker(*kind, "--quiet", label).split()]
        return found + [line for line in Path("/proc/mounts").read_text().splitlines() if f"{self.name}_" in line]

    def _env(self, memory: str) -> subprocess.CompletedProcess[str]:
        folder = f"--volume={self.pack}:{self.pack}:ro"
        command = ["docker", "run", "--rm", "--network=none", folder, self.image, "zipmoe", "env", str(self.pack)]
        options = ["--memory", memory, "--kv-tokens", "1024"]
        return subprocess.run([*command, *options], capture_output=True, text=True)


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=120).stdout


def until(happens: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def _compose() -> list[str]:
    """The second version, or the first."""
    second = subprocess.run(["docker", "compose", "version"], capture_output=True)
    first = shutil.which("docker-compose")
    return ["docker", "compose"] if second.returncode == 0 or first is None else [first]
