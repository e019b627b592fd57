"""Order: in which order the missing experts of one layer are brought in. Pure: it looks at what each costs and sorts.

An expert is read from disk, decoded by one of the cores, then multiplied by the one unit that multiplies. Each resource
takes what is first in the order of all that is ready for it. That none of them idles matters more than the order: every
one is done within three times the shortest time there is. Which is the better one is a matter of costs (`makespan`).
"""

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Job:
    """A missing expert and what it costs, in seconds: `read` of the disk, for all that it lacks; `decode` of one core;
    `multiply` of the multiplying unit, for `tokens` of them.

    With `sign_mantissa` its sign-mantissas have to be read too, and it is heavy on the disk (the paper's Type-I);
    without, it is heavy on the cores (Type-II).
    """

    expert: int
    read: float
    decode: float
    multiply: float
    tokens: int
    sign_mantissa: bool


# Jobs and the number of cores that decode.
Order = Callable[[Sequence[Job], int], list[Job]]


def affinity(jobs: Sequence[Job], cores: int) -> list[Job]:
    """The paper's: blocks of one job for the disk and as many for the cores as these need to fall behind it."""
    ranked = tokens(jobs, cores)
    disk = deque(job for job in ranked if job.sign_mantissa)
    memory = deque(job for job in ranked if not job.sign_mantissa)
    ordered = list[Job]()
    while disk:
        block = [disk.popleft()]
        while memory and sum(job.decode for job in block) / cores <= sum(job.read for job in block):
            block.append(memory.popleft())
        ordered += block
    return ordered + list(memory)


def tokens(jobs: Sequence[Job], cores: int) -> list[Job]:  # noqa: ARG001
    """Most tokens first."""
    return sorted(jobs, key=lambda job: -job.tokens)


def asked(jobs: Sequence[Job], cores: int) -> list[Job]:  # noqa: ARG001
    """As they came."""
    return list(jobs)


def johnson(jobs: Sequence[Job], cores: int) -> list[Job]:
    """Johnson's rule (1954), the best for two stages: the disk, and all that comes after it."""

    def after(job: Job) -> float:
        return job.decode / cores + job.multiply

    # What takes the second stage long starts early, and what it is done with quickly ends the layer.
    filling = sorted((job for job in jobs if job.read < after(job)), key=lambda job: job.read)
    draining = sorted((job for job in jobs if job.read >= after(job)), key=after, reverse=True)
    return filling + draining


# The paper's comes first; the others are there to be compared with.
ORDERS: Final[Mapping[str, Order]] = MappingProxyType(
    {"affinity": affinity, "tokens": tokens, "asked": asked, "johnson": johnson}
)


def makespan(jobs: Sequence[Job], cores: int) -> float:
    """Seconds until all are multiplied, brought in in this order; nothing idles that could work."""
    assert cores > 0, "nobody decodes"
    read = _done([0.0] * len(jobs), [job.read for job in jobs], 1)
    decoded = _done(read, [job.decode for job in jobs], cores)
    return max(_done(decoded, [job.multiply for job in jobs], 1), default=0.0)


def _done(ready: Sequence[float], lasting: Sequence[float], servers: int) -> list[float]:
    """When each job is done by one of the servers, which take the first in order of those ready. Nothing to do waits
    for no server."""
    done = list(ready)
    coming = deque(sorted((at, job) for job, at in enumerate(ready) if lasting[job] > 0))
    waiting, free, now = list[int](), [0.0] * servers, 0.0
    while coming or waiting:
        # No job starts before one that was chosen earlier, so that `now` is the same for all servers.
        now = max(now, heapq.heappop(free), 0.0 if waiting else coming[0][0])
        while coming and coming[0][0] <= now:
            heapq.heappush(waiting, coming.popleft()[1])
        job = heapq.heappop(waiting)
        done[job] = now + lasting[job]
        heapq.heappush(free, done[job])
    return done
