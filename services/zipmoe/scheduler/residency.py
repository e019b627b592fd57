"""Residency: the scheduler's belief about every slot, as a pure state machine. The arena's directory is its mirror.

    free ── place ──▶ loading ── loaded ──▶ resident ── evict ──▶ free
                         └────── abandon ──▶ free

Experts are numbered through all layers. Knows neither locks nor time.
"""

from collections.abc import Iterable, Mapping


class Residency:
    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._free = list(range(slots - 1, -1, -1))
        self._loading: dict[int, int] = {}
        self._resident: dict[int, int] = {}

    @property
    def resident(self) -> Mapping[int, int]:
        """Slots by resident expert."""
        return self._resident

    @property
    def loading(self) -> Mapping[int, int]:
        """Slots by expert on its way in."""
        return self._loading

    @property
    def free(self) -> int:
        return len(self._free)

    def adopt(self, residents: Iterable[tuple[int, int]]) -> list[int]:
        """Takes over (expert, slot) pairs found in a directory; returns the experts whose slot cannot be theirs."""
        rejected = []
        for expert, slot in residents:
            if slot in self._free:
                self._free.remove(slot)
                self._resident[expert] = slot
            else:
                rejected.append(expert)
        return rejected

    def place(self, expert: int) -> int:
        """Gives an absent expert a free slot to be loaded into."""
        assert expert not in self._resident
        assert expert not in self._loading
        slot = self._loading[expert] = self._free.pop()
        return slot

    def loaded(self, expert: int) -> None:
        self._resident[expert] = self._loading.pop(expert)

    def abandon(self, expert: int) -> None:
        """Its load came to nothing and nobody writes to the slot any more."""
        self._free.append(self._loading.pop(expert))

    def evict(self, expert: int) -> None:
        self._free.append(self._resident.pop(expert))

    def check(self) -> None:
        """Raises AssertionError unless every slot is exactly one of free, loading or resident, and no expert is two."""
        taken = [*self._free, *self._loading.values(), *self._resident.values()]
        assert sorted(taken) == list(range(self.slots)), f"slots lost or doubled: {sorted(taken)}"
        assert not self._loading.keys() & self._resident.keys(), "an expert is loading and resident"
