"""Sizes as people write them, and what they mean for an arena. Pure."""

import re
from dataclasses import replace
from typing import Final

from zipmoe.arena.layout import FEWEST_SLOTS, Header
from zipmoe.errors import CacheExhausted, InvalidRequest
from zipmoe.pack.blob import CODE_BITS
from zipmoe.pack.reader import Pack

_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", re.IGNORECASE)
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")

FORMS: Final = ("bf16", *(f"pack{bits}" for bits in CODE_BITS))


def arena_header(pack: Pack, size: str, resident: str) -> Header:
    """What an arena of `size` (see `arena_bytes`) for this pack would be like, its experts resident in one of FORMS, or
    as what is smallest of them (`auto`). It has no epoch yet."""
    shape = pack.geometry
    full = Header(shape.layers, shape.experts, shape.weights, 0, 0, size=0, epoch=0, fingerprint=pack.fingerprint)
    packed = (replace(full, bits=bits, part=pack.part_bytes(bits)) for bits in CODE_BITS)
    forms = {header.form: header for header in (full, *packed)}
    empty = min(forms.values(), key=lambda header: header.slot_bytes) if resident == "auto" else forms[resident]
    return replace(empty, size=arena_bytes(size, empty))


def plain_bytes(size: str, other: str = "") -> int:
    """Bytes of "6GiB" or "300MB". Raises InvalidRequest for what is no size; `other` is what else may be written."""
    if plain := _SIZE.fullmatch(size):
        return int(float(plain[1]) * _UNITS[(plain[2] or "").upper()])
    raise InvalidRequest(f"{size!r} is no size: write 6GiB, 300MB{other and ',' + other}")


def arena_bytes(size: str, empty: Header) -> int:
    """Bytes of an arena of `size`: "6GiB", "300MB", or "30%" of the model's experts in BF16. `empty` gives its shape.

    Raises InvalidRequest for what is no size, CacheExhausted for one with fewer than FEWEST_SLOTS slots.
    """
    if share := _SHARE.fullmatch(size):
        slots = int(float(share[1]) / 100 * empty.records * empty.weights * 2) // empty.slot_bytes
        wanted = empty.slots_offset + min(slots, empty.records) * empty.slot_bytes
    else:
        wanted = plain_bytes(size, " or a share of the experts such as 30%")
    fewest = empty.slots_offset + FEWEST_SLOTS * empty.slot_bytes
    if wanted < fewest:
        raise CacheExhausted(
            f"an arena of {size} ({wanted / 2**20:.1f} MiB) is too small for this model: "
            f"its smallest has {FEWEST_SLOTS} experts, {fewest / 2**20:.1f} MiB"
        )
    most = empty.slots_offset + empty.records * empty.slot_bytes
    return min(wanted, most)
