"""Forced: the inference service's engine, which is told what it writes, as a contestant."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from threading import Lock
from typing import Any, TypeVar

import torch
from tests.system.stack import Stack

from benchmarks.peers.contest import Counts
from benchmarks.peers.extent import KV_TOKENS
from benchmarks.peers.streams import Stream
from benchmarks.peers.watched import Scratch, Watched
from zipmoe.arena.arena import Arena
from zipmoe.inference.batch import Part
from zipmoe.inference.engine import Engine
from zipmoe.inference.model.families import decoder
from zipmoe.inference.model.kv_cache import pages_for
from zipmoe.inference.model.modes import arithmetic
from zipmoe.inference.model.weight import DenseWeights, unpacked
from zipmoe.inference.sampling import Sampled, Sampling
from zipmoe.inference.scheduler_client import SchedulerClient
from zipmoe.inference.sequence import Delta
from zipmoe.inference.tally import Counters
from zipmoe.inference.text import load_tokenizer
from zipmoe.inference.weights import load_dense
from zipmoe.pack.reader import Pack
from zipmoe.wire.channel import connect

T = TypeVar("T")


class ForcedEngine(Engine):
    """Its sequences write what their stream says: the one whose number is the seed of their sampling."""

    streams: Sequence[Stream] = ()
    # Held while a step is computed.
    step_lock = Lock()

    def _compute(self, parts: list[Part]) -> tuple[list[Sampled | None], list[Counters]]:
        with self.step_lock:
            sampled, counters = super()._compute(parts)
        told = [one and Sampled(self._next(part)) for one, part in zip(sampled, parts, strict=True)]
        return told, counters

    def _next(self, part: Part) -> int:
        number = part.sequence.sampling.seed
        assert number is not None
        return self.streams[number][len(part.sequence.tokens)]


class Forced:
    """The engine lives on the event loop, the contest on a thread. It goes on by itself; who asks for a step waits
    until it has been told."""

    about = ""

    def __init__(self, engine: ForcedEngine, experts: Watched) -> None:
        self._engine, self._experts = engine, experts
        self._loop = asyncio.get_running_loop()
        self._running: list[AsyncGenerator[Delta, None]] = []

    def begin(self, streams: Sequence[Stream], prompt: int) -> None:
        self._on_loop(self._begin(streams, prompt))

    def step(self) -> None:
        self._on_loop(self._step())

    def counts(self) -> Counts:
        return dict(self._experts.counted)

    def still(self) -> Lock:
        return self._engine.step_lock

    async def _begin(self, streams: Sequence[Stream], prompt: int) -> None:
        for running in self._running:
            await running.aclose()
        self._engine.streams = streams
        self._running = [
            self._engine.generate(list(stream[:prompt]), Sampling(max_tokens=len(stream) - prompt, seed=number))
            for number, stream in enumerate(streams)
        ]
        await self._step()

    async def _step(self) -> None:
        await asyncio.gather(*(anext(running) for running in self._running))

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@asynccontextmanager
async def forced(stack: Stack, forecast: int, threads: int, unpacking: int) -> AsyncIterator[Forced]:
    """With `unpacking`, so many experts at once are unpacked before they are multiplied with, and dense weights for
    good. Starts the other services when these are there: what they take for a moment is what the arena takes then."""
    torch.set_num_threads(threads)
    with Pack.open(stack.pack) as pack:
        dense = plain(load_dense(pack), threads) if unpacking else load_dense(pack)
        model = decoder(pack.config, dense, arithmetic("fast", threads), forecast)
        stack.start("expert_store", "scheduler")
        async with connect(stack.places.scheduler) as channel:
            client = SchedulerClient(channel)
            arena, hidden = Arena.open(await client.arena()), pack.geometry.hidden
            scratch = Scratch(arena.header.weights, hidden, unpacking, threads) if unpacking else None
            experts = Watched(arena, hidden, client, scratch)
            engine = ForcedEngine(model, experts, load_tokenizer(pack), frozenset(), pages_for(KV_TOKENS), 16)
            async with engine.running():
                yield Forced(engine, experts)


def plain(dense: DenseWeights, threads: int) -> DenseWeights:
    """In memory of its own: what is loaded lies side by side, and stays while any of it does."""
    matrices = {
        name: weight.clone() if isinstance(weight, torch.Tensor) else unpacked(weight, threads)
        for name, weight in dense.matrices.items()
    }
    return replace(dense, matrices=matrices, vectors={name: vector.clone() for name, vector in dense.vectors.items()})
