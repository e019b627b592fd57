"""Allotment: what the one memory number is divided into, before anything is loaded."""

from dataclasses import dataclass

from zipmoe.arena.layout import FEWEST_SLOTS, Header
from zipmoe.cli.memory import available
from zipmoe.cli.overhead import overhead
from zipmoe.cli.planning import dense_bytes, sequence_bytes
from zipmoe.expert_store.size import FORMS, arena_header, plain_bytes
from zipmoe.pack.reader import Pack
from zipmoe.plan.budget import Budget

# Tokens that all sequences together may have, unless a person says otherwise.
KV_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Allotment:
    """`smallest` is the header of an arena for all experts in the smallest form."""

    budget: Budget
    smallest: Header
    kv_tokens: int

    @property
    def floor(self) -> int:
        """The least memory that would do."""
        return self.budget.floor(FEWEST_SLOTS * self.smallest.slot_bytes)

    @property
    def slots(self) -> int:
        """Bytes left for slots. Raises CacheExhausted if they are too few."""
        return self.budget.slots(FEWEST_SLOTS * self.smallest.slot_bytes)

    @property
    def arena(self) -> int:
        """Bytes of the arena: no more than all experts take."""
        return min(self.slots + self.smallest.slots_offset, self.smallest.size)


def usual_tokens(pack: Pack) -> int:
    """For keys and values, where a person has not said how many."""
    return min(int(pack.config.get("max_position_embeddings", KV_TOKENS)), KV_TOKENS)


def allot(
    pack: Pack, memory: str, resident: str, workers: int, kv_tokens: int | None, processes: int | None = None
) -> Allotment:
    """Of `memory` as people write it, or if it is empty, of what this process may use. `processes` is what they take,
    in bytes; measured, if it is None."""
    headers = [arena_header(pack, "100%", form) for form in (FORMS if resident == "auto" else [resident])]
    smallest = min(headers, key=lambda header: header.slot_bytes)
    tokens = kv_tokens or usual_tokens(pack)
    budget = Budget(
        memory=plain_bytes(memory) if memory else available(),
        processes=overhead(workers) if processes is None else processes,
        dense=dense_bytes(pack),
        sequences=sequence_bytes(pack, tokens),
        tables=smallest.slots_offset,
    )
    return Allotment(budget, smallest, tokens)
