"""Containers: what is promised of processes holds for them, one at a time killed, rebuilt and started anew."""

import asyncio
import contextlib
import signal
from collections.abc import Callable

import pytest

from tests.compose.project import HEALTH_SECONDS, Project, until
from zipmoe.arena.arena import Arena
from zipmoe.arena.leases import Leases
from zipmoe.client import Client
from zipmoe.errors import ServiceRestarting

PROMPT = "def parse_args(self, args=None"
TOKENS = 64
SERVICES = Project.services


async def generate(project: Project, begun: Callable[[], object] = lambda: None) -> list[int]:
    """Calls `begun` when the first token is there."""
    tokens: list[int] = []
    async with Client(project.address) as client:
        await client.until_reachable(60)
        async for piece in client.generate(PROMPT, max_tokens=TOKENS):
            tokens += piece.tokens
            begun()
    return tokens


async def under_way(project: Project) -> "asyncio.Task[list[int]]":
    """A generation that has written something, and not yet all."""
    begun = asyncio.Event()
    generating = asyncio.create_task(generate(project, begun.set))
    await begun.wait()
    return generating


async def settled(project: Project) -> tuple[int, set[tuple[int, int]]]:
    """The arena's epoch and the resident experts, once nobody loads or uses any."""
    while (now := await project.status()).loading or now.leased:
        await asyncio.sleep(0.01)
    return now.epoch, {(named.layer, named.expert) for named in now.resident}


@pytest.fixture(scope="module")
async def expected(project: Project) -> list[int]:
    return await generate(project)


async def test_it_serves_at_the_published_port_started_in_any_order(project: Project, expected: list[int]) -> None:
    assert len(expected) == TOKENS
    assert await generate(project) == expected
    epoch, resident = await settled(project)
    assert epoch
    assert 0 < len(resident) < 128, "with room for some of the experts"


async def test_the_arena_and_its_locks_are_one_for_all_containers(project: Project, expected: list[int]) -> None:
    arena = Arena.open(project.volume("arena") / "arena")
    leases = Leases(arena.path)
    generating = await under_way(project)
    # Inference holds a lease; the kernel tells us, who are in none of the containers, and the scheduler in another one.
    while not leases.held(0, arena.header.records):
        await asyncio.sleep(0)
    while not (await project.status()).leased:
        assert not generating.done()
    # Its end, whenever it comes, leaves none.
    await asyncio.to_thread(project.kill, "inference")
    assert not leases.held(0, arena.header.records)
    with pytest.raises(ServiceRestarting):
        await generating
    leases.close()
    assert await generate(project) == expected


@pytest.mark.parametrize("service", SERVICES)
async def test_killed_while_it_generates_alone_and_back_to_a_warm_cache(
    project: Project, expected: list[int], service: str
) -> None:
    interrupted = await under_way(project)
    await asyncio.to_thread(project.kill, service)
    with contextlib.suppress(ServiceRestarting):
        assert await interrupted == expected
    assert await generate(project) == expected
    # Now with nobody asking for anything: what was resident is what is resident.
    before = await settled(project)
    assert before[1]
    await asyncio.to_thread(project.kill, service)
    await asyncio.to_thread(project.until_healthy)
    assert await settled(project) == before
    assert await generate(project) == expected


@pytest.mark.parametrize("service", SERVICES)
async def test_restarted_while_it_generates(project: Project, expected: list[int], service: str) -> None:
    interrupted = await under_way(project)
    await asyncio.to_thread(project.compose, "restart", service)
    try:
        assert await interrupted == expected
    except ServiceRestarting:
        assert service == "inference", "the others are waited for"
    assert await generate(project) == expected


# If anything in the image has changed since it was built, the kernels are compiled again.
@pytest.mark.timeout(900)
async def test_one_service_is_rebuilt_while_the_others_serve(project: Project, expected: list[int]) -> None:
    def rebuild() -> None:
        project.compose("build", "scheduler", REVISION="another")
        project.compose("up", "-d", "--no-deps", "--no-build", "scheduler", REVISION="another")

    before = {service: project.container(service) for service in SERVICES}
    warm = await settled(project)
    rebuilding = asyncio.create_task(asyncio.to_thread(rebuild))
    while not rebuilding.done():
        assert await generate(project) == expected
        # It needs some of the processors, too.
        await asyncio.sleep(1)
    await rebuilding
    assert await generate(project) == expected
    after = {service: project.container(service) for service in SERVICES}
    assert {service for service in SERVICES if before[service] != after[service]} == {"scheduler"}
    assert project.inspect("scheduler")["Config"]["Labels"]["org.opencontainers.image.revision"] == "another"
    assert (await settled(project))[0] == warm[0], "the arena is the same"


def test_health_tells_who_hangs_and_who_is_back(project: Project) -> None:
    project.until_healthy()
    stopped = project.process("scheduler").children(recursive=True)
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        until(lambda: project.health("scheduler") == "unhealthy", "the scheduler is unhealthy")
        assert project.health("expert_store") == "healthy"
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)
    project.until_healthy()


def test_health_starts_anew_with_its_service(project: Project) -> None:
    project.kill("expert_store")
    until(lambda: project.health("expert_store") == "starting", "it starts", HEALTH_SECONDS)
    project.until_healthy("expert_store")


def test_a_second_instance_is_refused_by_the_first_ones_lock(project: Project) -> None:
    project.until_healthy()
    said = project.compose("run", "--rm", "--no-deps", "-T", "scheduler", code=1)
    assert "scheduler.sock is in use" in said
    project.until_healthy()


def test_the_command_is_in_the_image(project: Project) -> None:
    said = project.compose("run", "--rm", "--no-deps", "-T", "scheduler", "zipmoe", "status")
    assert "hit rate" in said
    assert "in 0 steps" not in said


@pytest.mark.parametrize("file", ["compose.dev.yaml", "compose.gpu.yaml"])
def test_the_files_over_it_are_understood(project: Project, file: str) -> None:
    project.compose("config", "--quiet", files=(file,))


def test_python_comes_from_the_mounted_source_and_kernels_from_the_image(project: Project) -> None:
    script = "import zipmoe.kernels as a, zipmoe.scheduler as b; print(a.__path__[0], b.__path__[0])"
    said = project.compose(
        *("run", "--rm", "--no-deps", "-T", "scheduler", "python", "-c", script), files=("compose.dev.yaml",)
    )
    assert said.split() == ["/opt/zipmoe/compiled/zipmoe/kernels", "/source/services/zipmoe/scheduler"]
