"""Pool: the asyncio face of the worker processes.

     submit()                 tend(0) ── socket ── worker process 0
        │                    ╱                                      ╲
        ▼                   ╱                                        ╲ write into
     queue, most urgent first ── tend(1) ── socket ── worker process 1 ── the arena

Guarantees
  * The most urgent waiting load goes to whichever worker is idle: a demand overtakes every queued forecast.
  * A cancelled load that has not started never starts; one that has started ends by itself.
  * A hastened load is done once, though it stands in the queue twice.
  * A worker's death fails its load only (LOST), and the worker is replaced; one that died idle fails none. When a load
    is answered, whatever the answer, nothing writes to its slot any more.
"""

import asyncio
import heapq
import itertools
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from zipmoe.errors import WorkerLost
from zipmoe.expert_store.task import Outcome, Result, Task, Urgency
from zipmoe.expert_store.worker import LARGEST_MESSAGE

log = logging.getLogger(__name__)

# A worker that dies this often before it is ready will not get better by itself.
_MOST_FAILED_STARTS: Final = 3


class Load:
    """A submitted task. `outcome` is settled exactly once."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.started = False

    @property
    def begun(self) -> bool:
        """It has started, or ended without."""
        return self.started or self.outcome.done()

    def settle(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Pool:
    def __init__(self, experts_file: Path, codec: str, arena: Path, workers: int) -> None:
        self._arguments = (str(experts_file), codec, str(arena))
        self.workers = workers
        self.replaced = 0
        self._queue: list[tuple[Urgency, int, Load]] = []
        self._order = itertools.count()
        self._news = asyncio.Condition()
        self._busy = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts the workers; ends them when the body does. Raises WorkerLost if they cannot be started."""
        ready = [asyncio.Event() for _ in range(self.workers)]
        try:
            async with asyncio.TaskGroup() as group:
                tending = [group.create_task(self._tend(index, event)) for index, event in enumerate(ready)]
                for event in ready:
                    await event.wait()
                yield
                for task in tending:
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def submit(self, task: Task, urgency: Urgency) -> Load:
        return (await self.submit_all([task], urgency))[0]

    async def submit_all(self, tasks: Sequence[Task], urgency: Urgency) -> list[Load]:
        """As one after the other, but idle workers hear of all of them at once."""
        loads = [Load(task) for task in tasks]
        async with self._news:
            for load in loads:
                heapq.heappush(self._queue, (urgency, next(self._order), load))
            self._news.notify_all()
        return loads

    def cancel(self, load: Load) -> bool:
        """True if the load had not started and now never will."""
        if load.begun:
            return False
        load.settle(Outcome(Result.DROPPED))
        return True

    def hasten(self, load: Load) -> bool:
        """True if the load has not started; now it does before all that is less urgent than a demand."""
        if load.begun:
            return False
        # Nobody need be told: were a worker idle, it would have taken the load from where it stands already.
        heapq.heappush(self._queue, (Urgency.DEMAND, next(self._order), load))
        return True

    async def drain(self) -> None:
        """Drops all that is queued and returns when no worker is writing."""
        for _, _, load in self._queue:
            self.cancel(load)
        async with self._news:
            await self._news.wait_for(lambda: self._busy == 0)

    async def _next(self) -> tuple[Urgency, int, Load]:
        async with self._news:
            while True:
                await self._news.wait_for(lambda: bool(self._queue))
                waiting = heapq.heappop(self._queue)
                load = waiting[-1]
                if not load.begun:
                    load.started = True
                    self._busy += 1
                    return waiting

    async def _put_back(self, waiting: tuple[Urgency, int, Load]) -> None:
        waiting[-1].started = False
        async with self._news:
            heapq.heappush(self._queue, waiting)
            self._busy -= 1
            self._news.notify_all()

    async def _finish(self, load: Load, outcome: Outcome) -> None:
        load.settle(outcome)
        async with self._news:
            self._busy -= 1
            self._news.notify_all()

    async def _tend(self, index: int, ready: asyncio.Event) -> None:
        failed_starts = 0
        while True:
            process, pipe = self._start(index)
            try:
                if await _hear(pipe):
                    failed_starts = 0
                    ready.set()
                    await self._feed(pipe)
                    log.warning("worker %d died, replacing it", index)
                    self.replaced += 1
                else:
                    failed_starts += 1
                    if failed_starts == _MOST_FAILED_STARTS:
                        raise WorkerLost(f"worker {index} dies as it starts, see its message above")
            finally:
                pipe.close()
                process.kill()
                process.wait()

    async def _feed(self, pipe: socket.socket) -> None:
        """Gives the worker loads until it dies."""
        while True:
            waiting = await self._next()
            load = waiting[-1]
            if not await _tell(pipe, load.task.to_bytes()):
                # It had died idle and never got the task: the next worker's.
                await self._put_back(waiting)
                return
            outcome = Outcome(Result.LOST, "a worker process died under it")
            try:
                answer = await _hear(pipe)
                if answer:
                    outcome = Outcome.from_bytes(answer)
            finally:
                await self._finish(load, outcome)
            if not answer:
                return

    def _start(self, index: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
        # SEQPACKET keeps the messages apart, and tells of the other's death.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setblocking(False)
            command = [sys.executable, "-m", "zipmoe.expert_store.worker", str(theirs.fileno()), str(index)]
            process = subprocess.Popen([*command, *self._arguments], pass_fds=[theirs.fileno()])
        return process, ours


async def _hear(pipe: socket.socket) -> bytes:
    """The next message, or nothing when the worker is gone."""
    try:
        return await asyncio.get_running_loop().sock_recv(pipe, LARGEST_MESSAGE)
    except ConnectionError:
        return b""


async def _tell(pipe: socket.socket, message: bytes) -> bool:
    """False when the worker is gone."""
    try:
        await asyncio.get_running_loop().sock_sendall(pipe, message)
    except ConnectionError:
        return False
    return True
