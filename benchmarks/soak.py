"""Soak: the services under a memory limit of exactly the one number they were given, and a load that is never the same.

    python -m benchmarks.soak PACK --memory 1GiB [--minutes 20]          (as root: it makes a control group)

`zipmoe up` runs in a control group (v1 or v2) with the limit; clients beside it send long prompts, bursts, and requests
that they leave at random. Every minute a row: the group's memory and how often it met its limit, all processes' own
memory, their descriptors, requests served, left and refused. At the end the services must be idle and hold nothing.
Writes results/soak.json: times the limit was met after warm-up, processes killed for memory, and by how much the
group's memory, the processes' own and descriptors grew from the first third to the last. Their own grows until every
page for keys and values has been used once.
"""

import argparse
import asyncio
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import psutil

from benchmarks.group import Group
from zipmoe.client import Client
from zipmoe.errors import CacheExhausted
from zipmoe.expert_store.size import plain_bytes
from zipmoe.v1 import inference_pb2, inference_pb2_grpc, scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import connect
from zipmoe.wire.places import Places

RESULT: Final = Path(__file__).parent / "results" / "soak.json"
CLIENTS, BURST = 6, 24
WARM_UP: Final = 0.1  # of the time
ROW_SECONDS: Final = 60.0
START_SECONDS: Final = 600.0


@dataclass(slots=True)
class Served:
    done: int = 0
    left: int = 0
    refused: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """Bytes, descriptors, and how often the limit was met so far."""

    at: float
    usage: int
    own: int
    descriptors: int
    met: int


@dataclass(slots=True)
class Load:
    """Clients that go on until `ends`."""

    address: str
    ends: float
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    served: Served = field(default_factory=Served)

    async def run(self) -> None:
        async with Client(self.address) as client:
            vocabulary, context = (model := await client.model()).vocabulary, model.context
            clients = [self._client(client, vocabulary, context) for _ in range(CLIENTS)]
            await asyncio.gather(*clients, self._bursts(client, vocabulary))

    async def _client(self, client: Client, vocabulary: int, context: int) -> None:
        while time.monotonic() < self.ends:
            long = self.chance.random() < 0.2
            prompt = self.chance.randint(1, min(context - 64, 1000) if long else 40)
            await self._one(client, vocabulary, prompt, self.chance.randint(1, 64))

    async def _bursts(self, client: Client, vocabulary: int) -> None:
        while time.monotonic() < self.ends:
            await asyncio.sleep(self.chance.uniform(5, 25))
            await asyncio.gather(*(self._one(client, vocabulary, 8, 8) for _ in range(BURST)))

    async def _one(self, client: Client, vocabulary: int, prompt: int, written: int) -> None:
        tokens = [self.chance.randrange(vocabulary) for _ in range(prompt)]
        leaves = self.chance.randint(0, written) if self.chance.random() < 0.3 else None
        pieces, seen = client.generate(tokens, max_tokens=written), 0
        try:
            async for piece in pieces:
                seen += len(piece.tokens)
                if leaves is not None and seen > leaves:
                    self.served.left += 1
                    return
            self.served.done += 1
        except CacheExhausted:
            self.served.refused += 1
        finally:
            self.served.tokens += seen
            await pieces.aclose()


@contextmanager
def served(packed: Path, memory: str, kv_tokens: int) -> Iterator[tuple[Group, Places]]:
    """`zipmoe up` in a group of its own, ready."""
    group = Group.made("soak", plain_bytes(memory))
    with tempfile.TemporaryDirectory(prefix="zipmoe-soak-", dir="/tmp") as run:
        command = [str(Path(sys.executable).with_name("zipmoe")), "up", str(packed), "--memory", memory]
        command += ["--kv-tokens", str(kv_tokens), "--run", run]
        said = Path(run) / "said"
        with said.open("w") as log:
            process = subprocess.Popen(group.within(command), stderr=log)
        try:
            until_ready(process, said)
            yield group, Places.under(Path(run))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            group.remove()


def until_ready(process: "subprocess.Popen[bytes]", said: Path) -> None:
    """Shows what it has said until then."""
    ends = time.monotonic() + START_SECONDS
    while "\nready at" not in said.read_text():
        if process.poll() is not None or time.monotonic() > ends:
            raise SystemExit(f"it is not ready:\n{said.read_text()}")
        time.sleep(0.1)
    print(said.read_text())


def row(group: Group, started: float) -> Row:
    own = descriptors = 0
    for process in group.processes():
        try:
            memory = process.memory_full_info()
            own, descriptors = own + memory.uss, descriptors + process.num_fds()
        except psutil.NoSuchProcess:
            continue
    return Row(time.monotonic() - started, group.usage(), own, descriptors, group.met())


async def soak(group: Group, places: Places, minutes: float) -> tuple[list[Row], Served]:
    started = time.monotonic()
    load, rows = Load(places.inference, started + 60 * minutes), list[Row]()
    running = asyncio.create_task(load.run())
    print("minute  group MiB  own MiB  descriptors  met the limit   done   left  refused  tokens")
    while not running.done():
        await asyncio.wait([running], timeout=min(ROW_SECONDS, 6 * minutes))
        rows.append(row(group, started))
        last, of = rows[-1], load.served
        print(
            f"{last.at / 60:6.1f}  {last.usage / 2**20:9.0f}  {last.own / 2**20:7.0f}  {last.descriptors:11}"
            f"  {last.met:13}  {of.done:5}  {of.left:5}  {of.refused:7}  {of.tokens:6}",
            flush=True,
        )
    running.result()
    await idle(places)
    return rows, load.served


async def idle(places: Places) -> None:
    """Nobody runs, and nothing is held. Raises TimeoutError if that does not come."""
    async with asyncio.timeout(60), connect(places.inference) as inference, connect(places.scheduler) as scheduler:
        while True:
            now = await inference_pb2_grpc.InferenceServiceStub(inference).GetLoad(inference_pb2.GetLoadRequest())
            cache = await scheduler_pb2_grpc.SchedulerServiceStub(scheduler).GetCacheStatus(
                scheduler_pb2.GetCacheStatusRequest()
            )
            if not (now.running or now.waiting or now.pages_used or cache.leased):
                return
            await asyncio.sleep(0.05)


def growth(rows: list[Row], of: str) -> float:
    """From the first third to the last, relative."""
    values = [getattr(each, of) for each in rows]
    third = max(1, len(values) // 3)
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return round(float(last / first - 1), 4)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path, help="a packed model")
    parser.add_argument("--memory", required=True, help="the one number, and the limit")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--kv-tokens", type=int, default=4096)
    options = parser.parse_args()
    with served(options.pack, options.memory, options.kv_tokens) as (group, places):
        rows, done = asyncio.run(soak(group, places, options.minutes))
        killed = group.killed()
    warm = [each for each in rows if each.at > WARM_UP * 60 * options.minutes]
    report = {
        "command": f"python -m benchmarks.soak {options.pack.name} --memory {options.memory}",
        "date": str(date.today()),
        "minutes": options.minutes,
        "killed": killed,
        "limit_met_after_warm_up": warm[-1].met - warm[0].met,
        "peak_of_declared": round(max(each.usage for each in rows) / plain_bytes(options.memory), 3),
        "group_growth": growth(warm, "usage"),
        "own_growth": growth(warm, "own"),
        "descriptor_growth": growth(warm, "descriptors"),
        "requests": {"done": done.done, "left": done.left, "refused": done.refused, "tokens": done.tokens},
    }
    print(json.dumps(report, indent=2))
    RESULT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
