"""Served: `zipmoe up` as people start it, under the limit it is told: its start, and the memory of all processes."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.group import Group
from benchmarks.peers.alone import end, said
from benchmarks.peers.extent import BATCHES, KV_TOKENS, PROMPT, PROMPTS
from benchmarks.peers.streams import Stream, streams
from zipmoe.client import Client
from zipmoe.wire.places import Places

SECONDS = 180.0
# That each of many requests at once writes.
BUSY_TOKENS = 8


class NotReady(Exception):
    """It ended, or took too long; says what it said last."""


@dataclass(frozen=True, slots=True)
class Served:
    """`first` is seconds from the command to the first token. The peak is of the group, in bytes, `met` how often it
    came to its limit."""

    first: float
    peak: int
    met: int


def served(packed: Path, memory: int | None, group: Group, run: Path, vocabulary: int, busy: bool) -> Served:
    """With `busy`, until a long prompt and many requests at once have been answered; else until the first token."""
    with _up(packed, memory, group, run) as (places, started):
        return asyncio.run(_ask(places, started, group, vocabulary, busy))


@contextmanager
def _up(packed: Path, memory: int | None, group: Group, run: Path) -> Iterator[tuple[Places, float]]:
    command = [str(Path(sys.executable).with_name("zipmoe")), "up", str(packed), "--run", str(run)]
    command += ["--kv-tokens", str(KV_TOKENS), *(["--memory", str(memory)] if memory else [])]
    log = run / "said"
    with log.open("w") as errors:
        started = time.monotonic()
        process = subprocess.Popen(group.within(command), stderr=errors)
    try:
        while "\nready at" not in log.read_text():
            if process.poll() is not None or time.monotonic() > started + SECONDS:
                seconds = time.monotonic() - started
                raise NotReady(f"zipmoe up was not ready after {seconds:.0f} s: {said(log) or 'it said nothing'}")
            time.sleep(0.02)
        yield Places.under(run), started
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        end(group)


async def _ask(places: Places, started: float, group: Group, vocabulary: int, busy: bool) -> Served:
    async with asyncio.timeout(SECONDS), Client(places.inference) as client:
        (text,) = streams(vocabulary, "decode", 1, PROMPT)
        await _answer(client, text, 1)
        first = time.monotonic() - started
        if busy:
            (long,) = streams(vocabulary, "busy", 1, PROMPTS[-1])
            await _answer(client, long, PROMPT)
            many = streams(vocabulary, "busy", BATCHES[-1], PROMPT)
            await asyncio.gather(*(_answer(client, each, BUSY_TOKENS) for each in many))
        return Served(first, group.peak(), group.met())


async def _answer(client: Client, prompt: Stream, written: int) -> None:
    async for _ in client.generate(list(prompt), max_tokens=written):
        pass
