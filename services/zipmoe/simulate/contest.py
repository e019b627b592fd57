"""Contest: policies against each other, and against a cache that knows nothing of compression, at one budget."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from zipmoe.routing.routing import Routing
from zipmoe.scheduler.policy import POLICIES, lru
from zipmoe.simulate.replay import Replayed, replay, replay_belady

WORD_BITS: Final = 16
RAW, BELADY = "raw lru", "belady"


@dataclass(frozen=True, slots=True)
class Result:
    """`bits`: of a weight, in memory and on disk. `raw`: bytes read a step over those of LRU on BF16 slots."""

    policy: str
    bits: float
    resident: float  # share of the experts that the slots hold
    found: Replayed
    bytes: float  # a step, read from disk
    raw: float


def contest(routing: Routing, weights: int, budget: float, bits: float, batch: int = 1) -> Iterator[Result]:
    """`weights`: of an expert; `budget`: memory for experts, as a share of all of them in BF16; `batch`: sequences that
    a step decodes."""
    total = routing.layers * routing.experts
    plain, packed = _slots(budget, WORD_BITS, total, routing.k), _slots(budget, bits, total, routing.k)
    first = replay(routing, plain, lru, batch=batch)
    base = first.missing * weights * WORD_BITS / 8

    def result(policy: str, found: Replayed, of: float, slots: int) -> Result:
        size = found.missing * weights * of / 8
        return Result(policy, of, slots / total, found, size, size / base if base else 1.0)

    yield result(RAW, first, WORD_BITS, plain)
    for name, worth in POLICIES.items():
        yield result(name, replay(routing, packed, worth, batch=batch), bits, packed)
    yield result(BELADY, replay_belady(routing, packed, batch=batch), bits, packed)


def _slots(budget: float, bits: float, total: int, k: int) -> int:
    return min(total, max(k, int(budget * total * WORD_BITS / bits)))
