"""Sizes: what people write, and the smallest arena that can work."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.arena.shapes import header
from zipmoe.arena.layout import FEWEST_SLOTS, Header, whole
from zipmoe.errors import CacheExhausted, InvalidRequest
from zipmoe.expert_store.size import arena_bytes

# 1024 experts of 6 MiB: 6 GiB in all.
EMPTY = replace(header(1, layers=16, experts=64, weights=3 << 20), size=0)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ("3GiB", 3 << 30),
        ("3gib", 3 << 30),
        ("3 GiB", 3 << 30),
        ("3Gi", 3 << 30),
        ("3GB", 3 * 10**9),
        ("3G", 3 * 10**9),
        ("1.5GiB", 3 << 29),
        ("300MiB", 300 << 20),
        ("300MB", 300 * 10**6),
        ("400000KiB", 400000 << 10),
        ("100000000", 10**8),
        ("100000000B", 10**8),
    ],
)
def test_a_size_in_bytes(size: str, wanted: int) -> None:
    assert arena_bytes(size, EMPTY) == wanted


@pytest.mark.parametrize(("size", "slots"), [("30%", 307), ("0.2%", 2), ("50 %", 512), ("100%", 1024), ("250%", 1024)])
def test_a_share_is_a_number_of_whole_slots(size: str, slots: int) -> None:
    bytes_ = arena_bytes(size, EMPTY)
    assert bytes_ == EMPTY.slots_offset + slots * EMPTY.slot_bytes
    assert whole(replace(EMPTY, size=bytes_)).experts == slots


@pytest.mark.parametrize("size", ["", "much", "-3GiB", "3TiBs", "30%%", "%", "GiB", "1e9", "0x10", "3GiB extra"])
def test_what_is_no_size_is_quoted(size: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        arena_bytes(size, EMPTY)
    assert str(caught.value).startswith(f"{size!r} is no size: write 6GiB, 300MB, or a share")


@pytest.mark.parametrize("size", ["0", "0%", "0.1%", "1MiB", "12MiB"])
def test_a_size_that_is_too_small_says_what_would_do(size: str) -> None:
    with pytest.raises(CacheExhausted, match=r"its smallest has 2 experts, 12\.1 MiB"):
        arena_bytes(size, EMPTY)


def test_the_smallest_size_will_do() -> None:
    fewest = EMPTY.slots_offset + FEWEST_SLOTS * EMPTY.slot_bytes
    assert arena_bytes(str(fewest), EMPTY) == fewest
    with pytest.raises(CacheExhausted):
        arena_bytes(str(fewest - 1), EMPTY)


def test_an_arena_is_never_larger_than_the_model() -> None:
    assert whole(replace(EMPTY, size=arena_bytes("900GiB", EMPTY))).experts == EMPTY.records


@given(st.floats(0.2, 100), st.integers(1, 40), st.integers(2, 70))
def test_a_share_never_takes_more_than_that_share(share: float, layers: int, experts: int) -> None:
    empty: Header = replace(header(1, layers=layers, experts=experts), size=0)
    try:
        slots = whole(replace(empty, size=arena_bytes(f"{share:.3f}%", empty))).experts
    except CacheExhausted:
        assert int(share / 100 * empty.records) <= FEWEST_SLOTS
    else:
        assert FEWEST_SLOTS <= slots <= round(share, 3) / 100 * empty.records * (1 + 1e-9)
