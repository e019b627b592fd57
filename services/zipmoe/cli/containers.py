"""Containers: the one memory number as three limits, for services that each have a control group. Pure.

Pages of the arena count for who touches them first, and that is the expert store. Pages of files count so as well; but
since any container may be the one that starts first, each has room for all that it maps.
"""

from dataclasses import dataclass
from typing import Final

from zipmoe.cli.overhead import Processes, Taken

# Page tables: eight bytes for each page that a process maps.
_TABLES: Final = 512

# What each comes to have while it serves: buffers of messages, of reading and decoding, activations; the engine's own.
STORE_WORKING: Final = 16 << 20
SCHEDULER_WORKING: Final = 16 << 20
INFERENCE_WORKING: Final = 48 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes; together they are the one number."""

    expert_store: int
    scheduler: int
    inference: int

    @property
    def total(self) -> int:
        return self.expert_store + self.scheduler + self.inference

    def plus(self, arena: int, held: int) -> "Limits":
        """With an arena, and what inference holds: weights that are no experts, keys and values."""
        return Limits(self.expert_store + arena, self.scheduler, self.inference + held)


def bare(processes: Processes, health: Taken, workers: int, mapped: int) -> Limits:
    """Of containers with nothing in them but processes, which map so many bytes of arena. `health` is what asks each
    service now and then if it is well, a process in its container."""

    def container(of: Taken, working: int) -> int:
        return of.own + of.files + health.own + working + mapped // _TABLES

    store = container(processes.expert_store, STORE_WORKING)
    return Limits(
        expert_store=store + workers * (processes.worker.own + mapped // _TABLES),
        scheduler=container(processes.scheduler, SCHEDULER_WORKING),
        inference=container(processes.inference, INFERENCE_WORKING),
    )
