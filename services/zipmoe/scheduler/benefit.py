"""Benefit: what came of the loads that forecasts began. A load has paid if its expert was used before it went again."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from zipmoe.arena.use import UseTable


@dataclass(slots=True)
class Counts:
    """Experts forecast; loads begun for that, bytes these read, those of them that were used; and loads whose expert
    was wanted when it was resident or on its way."""

    forecasts: int = 0
    loads: int = 0
    bytes_read: int = 0
    bytes_used: int = 0
    in_time: int = 0


class Benefit:
    def __init__(self, use: UseTable) -> None:
        self._use = use
        self._counts = Counts()
        # By expert that has landed and was not seen to be used: its uses at that time, and the bytes read.
        self._unused: dict[int, tuple[int, int]] = {}

    def told(self, experts: Collection[int]) -> None:
        self._counts.forecasts += len(experts)

    def begun(self, expert: int) -> None:
        self.gone(expert)
        self._counts.loads += 1

    def read(self, size: int) -> None:
        """Bytes, whatever became of the load."""
        self._counts.bytes_read += size

    def used(self, size: int) -> None:
        """An expert of so many bytes has come in time."""
        self._counts.in_time += 1
        self._counts.bytes_used += size

    def landed(self, expert: int, size: int) -> None:
        """It is resident, and nobody has waited for it."""
        self._unused[expert] = self._use.read(expert).uses, size

    def gone(self, expert: int) -> None:
        """It has to be loaded anew; what it was used for before, the use table knows."""
        if expert in self._unused:
            uses, size = self._unused.pop(expert)
            if self._use.read(expert).uses != uses:
                self.used(size)

    def counts(self) -> Counts:
        for expert, (uses, _) in list(self._unused.items()):
            if self._use.read(expert).uses != uses:
                self.gone(expert)
        return replace(self._counts)
