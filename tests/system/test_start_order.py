"""The services start in any order, one at a time is restarted, and each has one instance."""

import itertools
import signal
from pathlib import Path

import pytest

from tests.system.stack import SERVICES, Stack
from zipmoe.client import Client


async def one_token(stack: Stack) -> None:
    async with Client(stack.places.inference) as client:
        await client.until_reachable(60)
        assert [piece async for piece in client.generate("import os", max_tokens=1)]


@pytest.mark.parametrize("order", list(itertools.permutations(SERVICES)), ids=" ".join)
async def test_any_order(demo_pack: Path, order: tuple[str, ...]) -> None:
    with Stack(demo_pack) as stack:
        for name in order:
            stack.start(name)
        await one_token(stack)


async def test_a_second_instance_says_who_has_the_socket(demo_pack: Path) -> None:
    with Stack(demo_pack) as stack:
        stack.start()
        await one_token(stack)
        for name in SERVICES:
            first = stack.processes.pop(name)
            stack.start(name)
            assert stack.wait(name) == 1
            assert f"in use by process {first.pid}" in stack.log()
            stack.processes[name] = first
        await one_token(stack)


async def test_terminated_services_come_back_to_a_warm_cache(demo_pack: Path) -> None:
    with Stack(demo_pack, arena_size="100%") as stack:
        stack.start()
        await one_token(stack)
        for name in SERVICES:
            assert stack.kill(name, signal.SIGTERM) == 0
            stack.start(name)
        async with Client(stack.places.inference) as client:
            await client.until_reachable(60)
            last = [piece async for piece in client.generate("import os", max_tokens=1)][-1]
        assert last.usage is not None
        assert last.usage.expert_uses > 0
        assert last.usage.expert_misses == 0
