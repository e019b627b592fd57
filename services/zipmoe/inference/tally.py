"""Tally: which of a step's uses and loads of experts are whose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zipmoe.inference.model.arithmetic import Integers


@dataclass(frozen=True, slots=True)
class Counters:
    """Experts that a sequence's tokens used, a step and layer each; how many of them were absent; its share of the
    bytes read for these; and calls made to the scheduler in its steps."""

    uses: int = 0
    misses: int = 0
    bytes_read: int = 0
    calls: int = 0

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(
            self.uses + other.uses,
            self.misses + other.misses,
            self.bytes_read + other.bytes_read,
            self.calls + other.calls,
        )


class Tally:
    def __init__(self, lengths: Sequence[int]) -> None:
        """Of the rows of a step, so many are the first sequence's, so many the next one's, and so on."""
        self._ends = np.cumsum(lengths).tolist()
        self._one_each = len(lengths) == sum(lengths)
        self._uses, self._misses = [0] * len(lengths), [0] * len(lengths)
        self._bytes = [0.0] * len(lengths)

    def add(self, chosen: Integers, read: Mapping[int, int]) -> None:
        """A layer's experts [T, k] of the rows, and the bytes that were read for those that were absent."""
        if self._one_each and not read:
            self._uses = [uses + chosen.shape[1] for uses in self._uses]
            return
        rows = chosen.tolist()
        start, used = 0, list[set[int]]()
        for place, end in enumerate(self._ends):
            used.append(set().union(*rows[start:end]))
            start = end
            self._uses[place] += len(used[place])
        for expert, size in read.items():
            whose = [place for place, experts in enumerate(used) if expert in experts]
            for place in whose:
                self._misses[place] += 1
                self._bytes[place] += size / len(whose)

    def counters(self, calls: int) -> list[Counters]:
        """Of each sequence; `calls` were made for all."""
        return [
            Counters(uses, misses, round(size), calls)
            for uses, misses, size in zip(self._uses, self._misses, self._bytes, strict=True)
        ]
