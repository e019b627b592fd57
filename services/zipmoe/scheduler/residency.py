"""Residency: the scheduler's belief about every slot, as a pure state machine. The arena's directory is its mirror.

    free ── place ──▶ filling ── filled ──▶ resident ── drop ──▶ free
                         └────── abandon ──▶ free

Each part of an expert (its words as BF16, its sign-mantissas, its packed exponents) lies in a slot of that part's pool
and is resident or not for itself. Experts are numbered through all layers. Knows neither locks nor time.
"""

from collections.abc import Collection, Iterable, Mapping

from zipmoe.arena.layout import PLANES, Part


class Residency:
    def __init__(self, slots: Mapping[Part, int]) -> None:
        self.slots = slots
        self._free = {part: list(range(slots[part] - 1, -1, -1)) for part in Part}
        self._resident: dict[Part, dict[int, int]] = {part: {} for part in Part}
        self._filling: dict[int, dict[Part, int]] = {}

    @property
    def filling(self) -> Mapping[int, Mapping[Part, int]]:
        """By expert, the slots that are being filled for it."""
        return self._filling

    def resident(self, part: Part) -> Mapping[int, int]:
        """Slots by the expert whose part lies there, complete."""
        return self._resident[part]

    def parts(self, expert: int) -> dict[Part, int]:
        """The expert's resident parts, and their slots."""
        return {part: slots[expert] for part, slots in self._resident.items() if expert in slots}

    def ready(self, expert: int) -> bool:
        """Whether it can be multiplied with."""
        return expert in self._resident[Part.WORDS] or all(expert in self._resident[part] for part in PLANES)

    def free(self, part: Part) -> int:
        return len(self._free[part])

    @property
    def mixed(self) -> bool:
        """Whether there are slots for words and for planes."""
        return self.slots[Part.WORDS] > 0 and all(self.slots[part] for part in PLANES)

    @property
    def moving(self) -> bool:
        """Whether an expert that is ready is being brought into its other form."""
        return any(self.ready(expert) for expert in self._filling)

    def lacking(self, expert: int) -> tuple[Part, ...]:
        """What has to be loaded before the expert can be multiplied with. Nothing if it is ready.

        An expert of which nothing is resident becomes words while there is a free slot for them, or if there are slots
        for nothing else.
        """
        if self.ready(expert):
            return ()
        planes = tuple(part for part in PLANES if expert not in self._resident[part])
        if not self.slots[Part.EXPONENTS] or (self._free[Part.WORDS] and planes == PLANES):
            return (Part.WORDS,)
        return planes

    def adopt(self, expert: int, parts: Mapping[Part, int]) -> bool:
        """Takes over what a directory says of an expert. False, and nothing is taken, if its slots cannot be its."""
        if not all(slot in self._free[part] for part, slot in parts.items()):
            return False
        for part, slot in parts.items():
            self._free[part].remove(slot)
            self._resident[part][expert] = slot
        return True

    def place(self, expert: int, parts: Collection[Part]) -> None:
        """Gives an expert free slots, to be filled with parts that are not resident."""
        assert expert not in self._filling
        assert parts
        assert not any(expert in self._resident[part] for part in parts)
        self._filling[expert] = {part: self._free[part].pop() for part in parts}

    def filled(self, expert: int) -> None:
        """What was being filled is complete. Words stand for both planes, and planes for words: the other form goes."""
        came = self._filling.pop(expert)
        for part, slot in came.items():
            self._resident[part][expert] = slot
        self.drop(expert, PLANES if Part.WORDS in came else (Part.WORDS,))

    def abandon(self, expert: int) -> None:
        """The filling came to nothing and nobody writes to the slots any more."""
        for part, slot in self._filling.pop(expert).items():
            self._free[part].append(slot)

    def drop(self, expert: int, parts: Iterable[Part]) -> None:
        """Those of these parts that are resident are no longer."""
        for part in parts:
            if (slot := self._resident[part].pop(expert, None)) is not None:
                self._free[part].append(slot)

    def falling(self, part: Part) -> tuple[Part, ...]:
        """What goes with this part of a resident expert. A plane stays behind without the other if there are more slots
        for it than for the other: that is what they are there for (C to S, C to E)."""
        rest = [plane for plane in PLANES if plane is not part]
        stays = part in PLANES and self.slots[rest[0]] > self.slots[part]
        return (part,) if stays else tuple(Part)

    def check(self) -> None:
        """Raises AssertionError unless every slot is exactly one of free, filling or resident, no part of an expert is
        two, and no expert lies in both forms but while it changes from one to the other."""
        for part in Part:
            filling = [slots[part] for slots in self._filling.values() if part in slots]
            taken = [*self._free[part], *filling, *self._resident[part].values()]
            assert sorted(taken) == list(range(self.slots[part])), f"slots lost or doubled: {part.name} {sorted(taken)}"
            both = [expert for expert in self._resident[part] if part in self._filling.get(expert, ())]
            assert not both, f"{part.name} of {both} is being filled and resident"
        words = self._resident[Part.WORDS].keys()
        assert not any(words & self._resident[part].keys() for part in PLANES), "an expert lies in both forms"
