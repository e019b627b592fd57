"""Flight: an expert on its way in, and how many wait for it."""

import asyncio
from dataclasses import dataclass, field

from zipmoe.scheduler.policy import Phase


@dataclass(slots=True)
class Flight:
    """`forecast`: its load began before anybody waited. `landed` is settled once, with what went wrong if anything
    did."""

    expert: int
    phase: Phase
    since: float
    forecast: bool = False
    waiters: int = 0
    attempts: int = 0
    bytes_read: int = 0
    landed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
