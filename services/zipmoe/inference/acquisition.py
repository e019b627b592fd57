"""Acquisition: one call to the scheduler, made on the event loop and waited for on the compute thread."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeAlias

from zipmoe.errors import ServiceRestarting, ZipMoEError
from zipmoe.inference.scheduler_client import SchedulerClient
from zipmoe.wire.channel import PATIENCE_SECONDS

# An expert and the bytes that were read for it, or what came instead.
Arrived: TypeAlias = "SimpleQueue[tuple[int, int] | BaseException]"


class Acquisition:
    """Experts on their way to the compute thread. If the scheduler restarts, asks the new one for what is missing."""

    def __init__(
        self,
        client: SchedulerClient,
        loop: asyncio.AbstractEventLoop,
        epoch: int,
        experts: int,
        prefill: bool,
        arrived: Arrived,
    ) -> None:
        """Experts, or what came instead, are put into `arrived`, which several may share."""
        self.calls = 0
        self._client = client
        self._loop = loop
        self._epoch = epoch
        self._experts = experts
        self._prefill = prefill
        self._arrived = arrived
        self._task: Future[None] | None = None

    def begin(self, numbers: Iterable[int], found: Mapping[int, int]) -> None:
        """Compute thread: asks for these experts, while it is going to use those found, whose counts of uses are these
        so far."""
        bringing = self._bring(dict.fromkeys(numbers), found)
        self._task = asyncio.run_coroutine_threadsafe(bringing, self._loop)

    def end(self) -> None:
        """Compute thread: nothing more is wanted; what has not begun to load is dropped."""
        if self._task is not None:
            self._task.cancel()

    async def _bring(self, missing: dict[int, None], found: Mapping[int, int]) -> None:
        patience_ends = time.monotonic() + PATIENCE_SECONDS
        try:
            while missing:
                try:
                    await self._client.until_reachable()
                    self.calls += 1
                    acquiring = self._client.acquire(self._epoch, self._experts, missing, self._prefill, found)
                    async for number, size in acquiring:
                        del missing[number]
                        self._arrived.put((number, size))
                        patience_ends = time.monotonic() + PATIENCE_SECONDS
                except ServiceRestarting:
                    if time.monotonic() > patience_ends:
                        raise
        except ZipMoEError as error:
            self._arrived.put(error)
