"""Roofline: the time that a token takes at least, for the bytes read for it and those it is multiplied with. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes: of an expert as BF16 and packed, and of all else that a token is multiplied with."""

    words: int
    packed: int
    dense: int

    def multiplied(self, counts: Mapping[str, int], steps: int) -> float:
        """A step, by the uses of experts in each state. Who was absent came in the form that most lie in."""
        words, packed = counts.get("words", 0), counts.get("packed", 0)
        absent = self.packed if packed > words else self.words
        total = words * self.words + packed * self.packed + counts.get("absent", 0) * absent
        return total / steps + self.dense


@dataclass(frozen=True, slots=True)
class Roofline:
    """Seconds a token: what the disk needs for its bytes, and memory for its own."""

    disk: float
    memory: float

    @property
    def seconds(self) -> float:
        return max(self.disk, self.memory)

    @property
    def limit(self) -> str:
        return "disk" if self.disk > self.memory else "memory"
