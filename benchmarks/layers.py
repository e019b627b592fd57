"""Layers: the time that a layer's experts take, measured with the real services on made-up routing.

What is timed is what the engine calls in each layer: the walk over the experts and their multiplication. Activations
are random; which experts they go to is routing with the published statistics.
"""

import asyncio
import importlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zipmoe.arena.arena import Arena
from zipmoe.pack.reader import Pack
from zipmoe.plan.prediction import Pools
from zipmoe.routing.routing import Routing
from zipmoe.v1 import scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import connect

# Of the steps, those that only warm the cache.
WARM: Final = 0.4


@dataclass(frozen=True, slots=True)
class Layers:
    """Seconds of each timed layer; bytes read and experts missed, a layer."""

    seconds: NDArray[np.float64]
    bytes: float
    misses: float


def measure(pack: Path, arena_size: str, pools: Pools, routing: Routing, batch: int) -> Layers:
    """Decodes `routing` as `batch` sequences at once, over an arena divided so."""
    return asyncio.run(_measure(pack, arena_size, pools, routing, batch))


async def _measure(packed: Path, arena_size: str, pools: Pools, routing: Routing, batch: int) -> Layers:
    # It sets what torch reads when it is imported.
    importlib.import_module("zipmoe.inference")
    from tests.system.stack import Stack

    from zipmoe.inference.experts import Experts
    from zipmoe.inference.scheduler_client import SchedulerClient

    steps = list(routing.side_by_side(batch))
    warm = int(len(steps) * WARM)
    with Stack(packed, arena_size, pools=",".join(map(str, pools.slots))) as stack, Pack.open(packed) as pack:
        stack.start("expert_store", "scheduler")
        # One that says why it cannot be is not waited for.
        stack.until("scheduler", "ready at")
        async with connect(stack.places.scheduler) as channel:
            client = SchedulerClient(channel)
            experts = Experts(Arena.open(await client.arena()), pack.geometry.hidden, client)
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            ask, hidden = scheduler_pb2.GetCacheStatusRequest(), pack.geometry.hidden
            await asyncio.to_thread(_decode, experts, hidden, steps[:warm])
            read_before = (await stub.GetCacheStatus(ask)).bytes_read
            seconds, misses = await asyncio.to_thread(_decode, experts, hidden, steps[warm:])
            read = (await stub.GetCacheStatus(ask)).bytes_read
    return Layers(np.array(seconds), (read - read_before) / len(seconds), misses / len(seconds))


def _decode(experts: Any, hidden: int, steps: Sequence[NDArray[np.int64]]) -> tuple[list[float], int]:
    """Compute thread: seconds of each layer of each step, and experts missed in all; steps are [batch, L, k]."""
    from zipmoe.inference.mixture import WalkedMixture
    from zipmoe.inference.model.fast import Fast
    from zipmoe.inference.model.mixture import Routed

    batch, layers, k = steps[0].shape
    mixture = WalkedMixture(experts, Fast(os.cpu_count() or 1), np.ones(batch, np.bool_))
    chance = np.random.default_rng(0)
    x = (chance.standard_normal((batch, hidden), np.float32).view(np.uint32) >> 16).astype(np.uint16)
    shares, seconds, misses = np.full((batch, k), 1 / k, np.float32), [], 0
    for step in steps:
        experts.use.advance()
        for layer in range(layers):
            started = time.perf_counter()
            mixture(layer, [Routed(x, step[:, layer], shares)])
            seconds.append(time.perf_counter() - started)
            misses += len(experts.read)
    return seconds, misses
