"""Hammer: the arena's protocol under fire. `python -m tests.arena.hammer writer|careless|reader ARENA SEED CHANGES`

A writer changes CHANGES times which expert lies in a slot, then prints "done"; a careless one does not claim the record
of the expert that it takes the slot of. A reader leases experts until its input ends, then prints the leases it had and
how many of them were violated: the slot did not hold the leased expert's bytes all the time.
"""

import random
import select
import sys
from pathlib import Path

from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory
from zipmoe.arena.layout import PAGE, Part, Pool, whole
from zipmoe.arena.leases import Leases

LOOKS = 8


def pattern(expert: int, length: int) -> bytes:
    return bytes([expert + 1]) * length


class Writer:
    def __init__(self, arena: Arena, careless: bool) -> None:
        header = arena.header
        self._pool: Pool = whole(header)[Part.WORDS]
        self._memory = arena.writable(header.slots_offset, header.size - header.slots_offset)
        self._start = header.slots_offset
        self._directory = Directory(arena.writable(PAGE, header.use_offset - PAGE), header, start=PAGE)
        self._leases = Leases(arena.path)
        self._careless = careless
        self._slots: dict[int, int] = {}
        self._absent = list(range(header.records))

    def fill(self) -> None:
        """Puts an expert into every slot."""
        for slot in range(self._pool.slots):
            self._place(self._absent.pop(), slot)

    def change(self, chance: random.Random) -> bool:
        """Puts an absent expert into the slot of a resident one. False if that one is leased."""
        victim = chance.choice(list(self._slots))
        if not self._withdraw(victim):
            return False
        expert = self._absent.pop(chance.randrange(len(self._absent)))
        self._absent.append(victim)
        self._place(expert, self._slots.pop(victim))
        return True

    def _withdraw(self, expert: int) -> bool:
        if self._careless:
            self._directory.withdraw(expert)
            return True
        with self._leases.claimed(expert) as claimed:
            if claimed:
                self._directory.withdraw(expert)
            return claimed

    def _place(self, expert: int, slot: int) -> None:
        offset, length = self._pool.slot_offset(slot), self._pool.slot_bytes
        self._memory[offset - self._start : offset - self._start + length] = pattern(expert, length)
        while not self._leases.claim(expert):
            pass
        self._directory.publish(expert, {Part.WORDS: offset})
        self._leases.release(expert)
        self._slots[expert] = slot


def write(arena: Arena, chance: random.Random, changes: int, careless: bool) -> str:
    writer = Writer(arena, careless)
    writer.fill()
    while changes:
        changes -= writer.change(chance)
    return "done"


def read(arena: Arena, chance: random.Random) -> str:
    directory, leases, length = Directory(arena.memory, arena.header), Leases(arena.path), arena.header.slot_bytes
    patterns = [pattern(expert, length) for expert in range(arena.header.records)]
    taken = violations = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        expert = chance.randrange(arena.header.records)
        if not leases.lease(expert):
            continue
        if directory.ready(expert):
            offset = directory.read(expert).words
            slot = arena.memory[offset : offset + length]
            taken += 1
            violations += any(bytes(slot) != patterns[expert] for _ in range(LOOKS))
        leases.release(expert)
    return f"{taken} {violations}"


def main() -> None:
    role, path, seed, changes = sys.argv[1:]
    arena, chance = Arena.open(Path(path)), random.Random(seed)
    print("ready", flush=True)
    if role == "reader":
        print(read(arena, chance), flush=True)
    else:
        print(write(arena, chance, int(changes), role == "careless"), flush=True)


if __name__ == "__main__":
    main()
