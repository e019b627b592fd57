"""Layout: headers and partitions that are whole are read back, damaged ones are none; regions keep apart."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.arena.shapes import header
from zipmoe.arena import layout
from zipmoe.arena.layout import PAGE, RECORD_BYTES, USE_BYTES, Header, Pool, round_up, same_epoch, whole
from zipmoe.errors import StaleEpoch

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
HEX = st.text("0123456789abcdef", min_size=1, max_size=32)

headers = st.builds(Header, U32, U32, U64, U32, U64, U64, U64, HEX)
shapes = st.builds(
    header,
    st.integers(1, 300),
    st.integers(1, 64),
    st.integers(1, 256),
    st.integers(1, 3 * 2048 * 1024),
    st.sampled_from([0, 100, 1 << 20]),
)


@given(headers)
def test_a_header_is_read_back(written: Header) -> None:
    assert Header.from_bytes(written.to_bytes().ljust(PAGE, b"\0")) == written


@given(U64, U64, U64, U64)
def test_a_partition_is_read_back(epoch: int, offset: int, slot_bytes: int, slots: int) -> None:
    pool = Pool(offset, slot_bytes, slots)
    assert Pool.from_bytes(pool.to_bytes(epoch).ljust(PAGE, b"\0"), epoch) == pool


def test_any_flipped_bit_makes_a_header_none() -> None:
    page = header(3).to_bytes()
    for at in range(8 * len(page)):
        assert Header.from_bytes(_flipped(page, at)) is None, f"bit {at}"


def test_any_flipped_bit_makes_a_partition_none() -> None:
    page = Pool(12 * PAGE, PAGE, 5).to_bytes(7)
    for at in range(8 * len(page)):
        assert Pool.from_bytes(_flipped(page, at), 7) is None, f"bit {at}"


@pytest.mark.parametrize("page", [b"", bytes(PAGE), b"\xff" * PAGE, header(3).to_bytes()[:-1]])
def test_a_page_that_is_no_header_is_none(page: bytes) -> None:
    assert Header.from_bytes(page) is None


def test_an_unwritten_page_is_no_partition() -> None:
    assert Pool.from_bytes(bytes(PAGE), 0) is None


def test_a_partition_of_another_epoch_is_none() -> None:
    assert Pool.from_bytes(Pool(12 * PAGE, PAGE, 5).to_bytes(7), 8) is None


def test_a_header_of_another_layout_version_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    page = header(3).to_bytes()
    monkeypatch.setattr(layout, "LAYOUT_VERSION", layout.LAYOUT_VERSION + 1)
    assert Header.from_bytes(page) is None
    assert Header.from_bytes(header(3).to_bytes()) == header(3)


@given(shapes)
def test_regions_start_on_pages_and_do_not_overlap(shape: Header) -> None:
    pool = whole(shape)
    regions = [
        (0, PAGE),
        (PAGE, 2 * PAGE),
        (shape.directory_offset, shape.directory_offset + shape.records * RECORD_BYTES),
        (shape.use_offset, shape.use_offset + (1 + shape.records) * USE_BYTES),
        *((pool.slot_offset(slot), pool.slot_offset(slot + 1)) for slot in range(pool.slots)),
    ]
    assert all(start % PAGE == 0 for start, _ in regions)
    assert all(end <= start for (_, end), (start, _) in pairwise(regions))
    assert regions[-1][1] <= shape.size
    assert shape.use_bytes % PAGE == 0


@given(shapes)
def test_a_slot_takes_an_expert_and_each_of_its_halves_a_plane(shape: Header) -> None:
    upper = shape.slot_bytes - round_up(shape.weights)
    assert upper % PAGE == 0
    assert upper >= (shape.part or shape.weights)


@given(st.integers(1, 50), st.integers(0, PAGE))
def test_the_whole_arena_is_one_pool_and_leftover_bytes_are_no_slot(slots: int, leftover: int) -> None:
    pool = whole(replace(header(slots), size=header(slots).size + leftover))
    assert pool.slots == slots
    assert [pool.slot_at(pool.slot_offset(slot)) for slot in range(slots)] == list(range(slots))


def test_a_caller_of_another_epoch_is_told_both() -> None:
    same_epoch(5, 5, "/dev/shm/a")
    with pytest.raises(StaleEpoch, match=r"/dev/shm/a is at epoch 5, the request speaks of epoch 4"):
        same_epoch(4, 5, "/dev/shm/a")


def _flipped(page: bytes, bit: int) -> bytes:
    damaged = bytearray(page)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
