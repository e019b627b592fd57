"""Limits: what each container may have, what it has, and that nothing is let in that need not be."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.compose.project import Project, docker
from zipmoe.cli.containers import Limits
from zipmoe.cli.planning import dense_bytes
from zipmoe.client import Client
from zipmoe.pack.reader import Pack


def group(project: Project, service: str) -> Path:
    """The folder of its memory's control group, of whichever version this machine has."""
    for line in Path(f"/proc/{project.process(service).pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("memory", ""):
            return Path("/sys/fs/cgroup", controllers, path.lstrip("/"))
    raise AssertionError("no control group has its memory")


def events(folder: Path) -> tuple[int, int]:
    """How often the limit was met, and processes killed for it."""
    v1 = (folder / "memory.failcnt").exists()
    lines = (folder / ("memory.oom_control" if v1 else "memory.events")).read_text().splitlines()
    found = {name: int(value) for name, value in (line.split() for line in lines)}
    return int((folder / "memory.failcnt").read_text()) if v1 else found["max"], found["oom_kill"]


def memory(folder: Path) -> tuple[int, int]:
    """Bytes that cannot be given back, files on disk can: the processes' own, and shared memory."""
    lines = (folder / "memory.stat").read_text().splitlines()
    found = {name: int(value) for name, value in (line.split() for line in lines)}
    return found["anon"] if "anon" in found else found["rss"], found["shmem"]


async def test_under_load_each_stays_within_its_limit(project: Project, limits: Limits) -> None:
    async with Client(project.address) as client:
        await client.until_reachable(60)
        prompts = [[i * 7 % 1000 + j for j in range(200)] for i in range(16)]

        async def one(prompt: list[int]) -> int:
            return sum([len(piece.tokens) async for piece in client.generate(prompt, max_tokens=60)])

        before = {service: events(group(project, service)) for service in project.services}
        written = await asyncio.gather(*(one(prompt) for prompt in prompts))
    assert all(written)
    for service, limit in zip(project.services, (limits.expert_store, limits.scheduler, limits.inference), strict=True):
        folder = group(project, service)
        assert project.inspect(service)["HostConfig"]["Memory"] == limit
        assert sum(memory(folder)) < limit
        assert events(folder) == before[service], service
        assert events(folder)[1] == 0
        assert not project.inspect(service)["State"]["OOMKilled"]


def forget(image: str) -> None:
    """Has the kernel drop what it keeps of the image's files, as if the device had just been switched on."""
    layers = json.loads(docker("image", "inspect", image))[0]["GraphDriver"]["Data"]
    for folder in [layers["UpperDir"], *layers.get("LowerDir", "").split(":")]:
        for file in filter(Path.is_file, Path(folder).rglob("*.so*")):
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


async def test_from_cold_each_has_room_and_the_arena_counts_for_the_store(project: Project) -> None:
    """Libraries count for the container that reads them first. When all stop, the tmpfs goes with the last."""
    project.compose("down", "--timeout", "30")
    assert not project.volume("arena").is_mount()
    forget(project.image)
    project.compose("up", "-d", "--no-build")
    project.until_healthy()
    async with Client(project.address) as client:
        assert [piece async for piece in client.generate("import os", max_tokens=16)]
    size = int(project.settings["ZIPMOE_ARENA_SIZE"])
    groups = [group(project, service) for service in project.services]
    shared = [memory(folder)[1] for folder in groups]
    assert size <= shared[0] < 1.1 * size
    with Pack.open(project.pack) as pack:
        # Weights that are no experts lie in shared memory as well, and are inference's own.
        assert shared[2] < 1.1 * dense_bytes(pack)
    assert shared[1] < 0.1 * size
    assert [events(folder)[1] for folder in groups] == [0, 0, 0]


@pytest.mark.parametrize("service", Project.services)
def test_nothing_is_let_in_that_need_not_be(project: Project, service: str) -> None:
    found = project.inspect(service)
    host, processes = found["HostConfig"], project.process(service).children(recursive=True)
    assert found["Config"]["User"] == "zipmoe"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["NetworkMode"] == ("none" if service != "inference" else f"{project.name}_default")
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert {uid for process in processes for uid in process.uids()} == {10001}
    maps = "".join(Path(f"/proc/{process.pid}/maps").read_text() for process in processes)
    assert ("libtorch" in maps) == (service == "inference")


def test_sockets_are_for_their_user_and_group_alone(project: Project) -> None:
    folder = project.volume("sockets")
    found = {path.name: path.stat() for path in (folder, *folder.glob("*.sock"))}
    assert len(found) == 4
    assert {(stat.st_uid, stat.st_gid) for stat in found.values()} == {(10001, 10001)}
    assert not any(stat.st_mode & 0o007 for stat in found.values())


def test_there_is_no_compiler_and_no_root(project: Project) -> None:
    script = "id -u; command -v cc g++ gcc pip make; true"
    said = project.compose("run", "--rm", "--no-deps", "-T", "scheduler", "sh", "-c", script)
    assert said.split() == ["10001"]
