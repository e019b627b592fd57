"""kill -9 of each service at random moments of a generation: nothing wrong is ever written, and the cache stays warm.

ZIPMOE_KILLS=200 python -m pytest tests/system/test_kills.py        more kills than the usual 50 a service
"""

import asyncio
import os
import random
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.stack import Stack, left_behind
from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory
from zipmoe.client import Client
from zipmoe.errors import ServiceRestarting

KILLS = int(os.environ.get("ZIPMOE_KILLS", "50"))
PROMPT = "def parse_args(self, args=None"
TOKENS = 16
BACK_SECONDS = 5.0


@pytest.fixture(scope="module")
async def stack(demo_pack: Path) -> AsyncIterator[Stack]:
    with Stack(demo_pack, arena_size="30%") as stack:
        yield stack.start()
        for name in ("inference", "scheduler", "expert_store"):
            assert stack.kill(name, signal.SIGTERM) == 0
        assert not {name for name in left_behind(stack.places) if name.endswith(".sock")}
    assert not left_behind(stack.places)


async def generate(stack: Stack) -> list[int]:
    async with Client(stack.places.inference) as client:
        return [token async for piece in client.generate(PROMPT, max_tokens=TOKENS) for token in piece.tokens]


async def settled(stack: Stack) -> set[tuple[int, int]]:
    """The resident experts, once no load is on its way any more and nobody holds a lease."""
    while (now := await stack.status(list_experts=True)).loading or now.leased:
        await asyncio.sleep(0.005)
    return {(named.layer, named.expert) for named in now.resident}


def in_directory(stack: Stack) -> int:
    """Resident experts, counted in the arena itself."""
    arena = Arena.open(stack.places.arena)
    directory = Directory(arena.memory, arena.header)
    return sum(directory.ready(expert) for expert in range(arena.header.records))


def taken_over(stack: Stack) -> int:
    """Resident experts that the last scheduler to start found."""
    return int(re.findall(r"took over (\d+) resident", (stack.places.run / "scheduler.log").read_text())[-1])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("service", ["expert_store", "scheduler", "inference"])
async def test_killed_at_random_moments(stack: Stack, service: str) -> None:
    chance = random.Random(service)
    expected = await generate(stack)
    started = time.monotonic()
    assert await generate(stack) == expected
    duration = time.monotonic() - started
    finished, slowest = 0, 0.0
    for _ in range(KILLS):
        interrupted = asyncio.create_task(generate(stack))
        await asyncio.sleep(chance.uniform(0, duration))
        stack.kill(service)
        resident = await settled(stack) if service == "inference" else None
        found = in_directory(stack)
        stack.start(service)
        try:
            assert await interrupted == expected
            finished += 1
        except ServiceRestarting:
            pass
        started = time.monotonic()
        if resident is not None:
            # Before anything new is asked for, the cache is as it was.
            assert await settled(stack) == resident
        assert await generate(stack) == expected
        slowest = max(slowest, time.monotonic() - started)
        assert slowest < BACK_SECONDS
        await settled(stack)
        assert service != "scheduler" or taken_over(stack) == found > 0
    print(
        f"\n{service}: {finished} of {KILLS} interrupted requests finished right, next one in {slowest:.2f} s at most"
    )


async def test_a_restarted_scheduler_takes_over_every_resident(stack: Stack) -> None:
    await generate(stack)
    for _ in range(5):
        resident = await settled(stack)
        stack.kill("scheduler")
        stack.start("scheduler")
        assert await settled(stack) == resident
        assert taken_over(stack) == len(resident) > 0
        assert (await stack.status(list_experts=True)).misses == 0
