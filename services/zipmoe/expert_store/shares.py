"""Shares: a large load as the tasks of several workers. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from zipmoe.expert_store.task import Act, Outcome, Result, Task
from zipmoe.pack.blob import Blob

# Reading so much takes longer than telling another worker of it. One expert is then there sooner, because two workers
# read more in a second than one; of several the first is, and is multiplied while the next is read.
WORTH_SHARING_BYTES: Final = 1 << 21

# The worst of an expert's loads is what became of it. One that was dropped had not begun, so it may be tried again.
_WORST_LAST: Final = (Result.LOADED, Result.DROPPED, Result.LOST, Result.CORRUPT)


def shared_out(task: Task) -> list[Task]:
    """The task, or one for each of the planes that it brings in, the larger first."""
    if task.act is not Act.LOAD or not (task.sign_mantissas and task.exponents):
        return [task]
    if Blob.from_wire(task.blob).exponent_bytes < WORTH_SHARING_BYTES:
        return [task]
    return [replace(task, exponents=0), replace(task, sign_mantissas=0)]


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """What became of an expert, from what became of its shares."""
    worst = max(outcomes, key=lambda outcome: _WORST_LAST.index(outcome.result))
    return replace(
        worst,
        bytes_read=sum(outcome.bytes_read for outcome in outcomes),
        read_nanoseconds=sum(outcome.read_nanoseconds for outcome in outcomes),
        decode_nanoseconds=sum(outcome.decode_nanoseconds for outcome in outcomes),
    )
