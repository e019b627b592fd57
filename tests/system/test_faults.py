"""What the world and people do to a running system: each time a clear error, nothing lost, no hang."""

import asyncio
import dataclasses
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.stack import Stack
from zipmoe.arena.arena import Arena
from zipmoe.client import Client
from zipmoe.errors import CorruptExpert, ServiceRestarting
from zipmoe.expert_store.size import arena_header
from zipmoe.pack.reader import Pack

# The patience of one service with another, and some.
MOST_SECONDS = 50


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 8 MiB."""
    if os.geteuid():
        pytest.skip("mounting a tmpfs needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


async def generate(stack: Stack, prompt: str = "import os\n", max_tokens: int = 8) -> list[int]:
    async with Client(stack.places.inference) as client:
        await client.until_reachable(60)
        return [token async for piece in client.generate(prompt, max_tokens=max_tokens) for token in piece.tokens]


@pytest.fixture
def damaged(demo_pack: Path, tmp_path: Path) -> Path:
    """A pack of which a bit of one expert is another."""
    copy = shutil.copytree(demo_pack, tmp_path / "damaged.zipmoe")
    with Pack.open(copy) as pack:
        blob = pack.expert(3, 5)
    with open(copy / "experts.bin", "r+b") as file:
        at = blob.sign_mantissa_offset + 1234
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))
    return copy


async def test_a_damaged_expert_is_the_matter_of_those_who_want_it(damaged: Path) -> None:
    """Together, everybody gets what each gets alone, a text or the error."""

    async def outcome(stack: Stack, token: int) -> list[int] | None:
        async with Client(stack.places.inference) as client:
            try:
                return [each async for piece in client.generate([token], max_tokens=2) for each in piece.tokens]
            except CorruptExpert:
                return None

    with Stack(damaged, arena_size="30%", mode="reference") as stack:
        stack.start()
        alone = [await outcome(stack, token) for token in range(100, 116)]
        assert None in alone
        assert any(alone)
        assert await asyncio.gather(*(outcome(stack, token) for token in range(100, 116))) == alone
        assert stack.running("inference")


async def test_a_flipped_bit_is_named_and_never_multiplied(damaged: Path) -> None:
    with Stack(damaged, arena_size="30%") as stack:
        stack.start()
        # Forty tokens of prompt want every expert of every layer.
        for _ in range(2):
            with pytest.raises(CorruptExpert, match=r"experts\.bin: sign-mantissas at \d+ .* pack it again"):
                await generate(stack, "import os, sys, json, re, heapq, socket, struct\n" * 8)
        assert all(stack.running(name) for name in stack.processes)


def test_a_tmpfs_that_is_too_small(demo_pack: Path, small_tmpfs: Path) -> None:
    with Stack(demo_pack, arena_size="30%") as stack:
        stack.places = dataclasses.replace(stack.places, arena=small_tmpfs / "arena")
        stack.start("expert_store")
        assert stack.wait("expert_store") == 1
        assert f"MiB in {small_tmpfs}, where 8.0 MiB are free" in stack.log()
        assert "ask for a smaller arena, or mount that tmpfs with a larger size" in stack.log()
        assert not list(small_tmpfs.glob("arena*[!s]"))


def test_an_arena_of_another_model(demo_pack: Path) -> None:
    with Stack(demo_pack) as stack, Pack.open(demo_pack) as pack:
        other = dataclasses.replace(arena_header(pack, "30%", "auto"), fingerprint="0" * 32)
        Arena.create(stack.places.arena, other)
        stack.start("expert_store")
        assert stack.wait("expert_store") == 1
        assert f"holds another model ({'0' * 32}, the pack is {pack.fingerprint})" in stack.log()
        assert f"remove {stack.places.arena}" in stack.log()
        assert Arena.open(stack.places.arena).header.fingerprint == "0" * 32


@pytest.mark.parametrize("service", ["expert_store", "scheduler"])
async def test_a_service_that_stays_away(demo_pack: Path, service: str) -> None:
    with Stack(demo_pack, arena_size="30%") as stack:
        stack.start()
        expected = await generate(stack)
        stack.kill(service)
        started = time.monotonic()
        with pytest.raises(ServiceRestarting, match="away"):
            await asyncio.wait_for(
                generate(stack, "def main(argv=None):\n    return sum(range(10))\n" * 4), MOST_SECONDS
            )
        assert time.monotonic() - started > 1
        stack.start(service)
        assert await asyncio.wait_for(generate(stack), MOST_SECONDS) == expected


async def test_dead_workers_are_replaced_under_load(demo_pack: Path) -> None:
    with Stack(demo_pack, arena_size="30%") as stack:
        stack.start()
        expected = await generate(stack, max_tokens=32)
        for _ in range(10):
            writing = asyncio.create_task(generate(stack, max_tokens=32))
            await asyncio.sleep(0)
            for worker in stack.workers():
                os.kill(worker, 9)
            assert await writing == expected
        assert len(stack.workers()) == 2
