"""Slots that a caller names: what is wrong with them, before a worker writes there. Pure."""

from collections.abc import Mapping
from typing import Final

from zipmoe.arena.layout import PAGE, PLANES, Header, Part, Slot
from zipmoe.errors import InvalidRequest
from zipmoe.expert_store.task import Act

# The parts that an act may be told the slots of.
_MEANT: Final[Mapping[Act, tuple[frozenset[Part], ...]]] = {
    Act.LOAD: (frozenset({Part.WORDS}), *(frozenset({part}) for part in PLANES), frozenset(PLANES)),
    Act.RECOVER: (frozenset(Part),),
    Act.REDUCE: (frozenset(Part),),
}


def check(header: Header, slots: Mapping[Part, Slot], act: Act) -> None:
    """Raises InvalidRequest for bytes that are no slot of this arena, or other parts than the act is about."""
    if frozenset(slots) not in _MEANT[act] or (Part.EXPONENTS in slots and not header.bits):
        named = ", ".join(part.name.lower() for part in slots) or "nothing"
        raise InvalidRequest(f"{act.name.lower()} cannot be of {named} where experts are kept as {header.form}")
    for part, slot in slots.items():
        room = header.part_bytes(part)
        inside = header.slots_offset <= slot.offset and slot.offset + slot.length <= header.size
        if not inside or slot.offset % PAGE or slot.length < room:
            raise InvalidRequest(
                f"no slot for {part.name.lower()}: {slot.length} bytes at {slot.offset}; they take {room} bytes, "
                f"start on a page and lie between {header.slots_offset} and {header.size}"
            )
