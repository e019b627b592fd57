"""Layout: headers and partitions that are whole are read back, damaged ones are none; regions keep apart."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.arena.shapes import header
from zipmoe.arena import layout
from zipmoe.arena.layout import (
    PAGE,
    PLANES,
    RECORD_BYTES,
    USE_BYTES,
    Header,
    Part,
    Partition,
    Pool,
    divide,
    round_up,
    same_epoch,
    whole,
)
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


pools = st.builds(Pool, U64, U64, U64)
PARTITION = Partition((Pool(12 * PAGE, PAGE, 5), Pool(17 * PAGE, PAGE, 2), Pool(19 * PAGE, PAGE, 3)))


@given(U64, pools, pools, pools)
def test_a_partition_is_read_back(epoch: int, words: Pool, sign_mantissas: Pool, exponents: Pool) -> None:
    partition = Partition((words, sign_mantissas, exponents))
    assert Partition.from_bytes(partition.to_bytes(epoch).ljust(PAGE, b"\0"), epoch) == partition


def test_any_flipped_bit_makes_a_header_none() -> None:
    page = header(3).to_bytes()
    for at in range(8 * len(page)):
        assert Header.from_bytes(_flipped(page, at)) is None, f"bit {at}"


def test_any_flipped_bit_makes_a_partition_none() -> None:
    page = PARTITION.to_bytes(7)
    for at in range(8 * len(page)):
        assert Partition.from_bytes(_flipped(page, at), 7) is None, f"bit {at}"


@pytest.mark.parametrize("page", [b"", bytes(PAGE), b"\xff" * PAGE, header(3).to_bytes()[:-1]])
def test_a_page_that_is_no_header_is_none(page: bytes) -> None:
    assert Header.from_bytes(page) is None


def test_an_unwritten_page_is_no_partition() -> None:
    assert Partition.from_bytes(bytes(PAGE), 0) is None


def test_a_partition_of_another_epoch_is_none() -> None:
    assert Partition.from_bytes(PARTITION.to_bytes(7), 8) is None


def test_a_header_of_another_layout_version_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    page = header(3).to_bytes()
    monkeypatch.setattr(layout, "LAYOUT_VERSION", layout.LAYOUT_VERSION + 1)
    assert Header.from_bytes(page) is None
    assert Header.from_bytes(header(3).to_bytes()) == header(3)


@given(shapes)
def test_regions_start_on_pages_and_do_not_overlap(shape: Header) -> None:
    partition = whole(shape)
    regions = [
        (0, PAGE),
        (PAGE, 2 * PAGE),
        (shape.directory_offset, shape.directory_offset + shape.records * RECORD_BYTES),
        (shape.use_offset, shape.use_offset + (1 + shape.records) * USE_BYTES),
        *(
            (pool.slot_offset(slot), pool.slot_offset(slot + 1))
            for pool in partition.pools
            for slot in range(pool.slots)
        ),
    ]
    assert all(start % PAGE == 0 for start, _ in regions)
    assert all(end <= start for (_, end), (start, _) in pairwise(regions))
    assert regions[-1][1] <= shape.size
    assert shape.use_bytes % PAGE == 0


@given(shapes)
def test_a_slot_takes_its_part_and_half_of_one_for_words_takes_a_plane(shape: Header) -> None:
    words, sign_mantissas, exponents = (shape.part_bytes(part) for part in Part)
    assert words == 2 * round_up(shape.weights)
    assert sign_mantissas >= shape.weights
    assert exponents >= shape.part
    assert shape.slot_bytes == (sign_mantissas + exponents if shape.bits else words)
    assert not any(size % PAGE for size in (words, sign_mantissas, exponents))


@given(st.integers(1, 50), st.integers(0, PAGE))
def test_the_whole_arena_is_as_many_experts_as_fit_and_leftover_bytes_are_no_slot(slots: int, leftover: int) -> None:
    plain, packed = header(slots), header(slots, part=100)
    assert [pool.slots for pool in whole(replace(plain, size=plain.size + leftover)).pools] == [slots, 0, 0]
    assert [pool.slots for pool in whole(replace(packed, size=packed.size + leftover)).pools] == [0, slots, slots]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_pools_lie_one_behind_the_other(words: int, sign_mantissas: int, exponents: int) -> None:
    shape = header(1, part=100)
    partition = divide(shape, words, sign_mantissas, exponents)
    assert partition.experts == words + min(sign_mantissas, exponents)
    assert [pool.slots for pool in partition.pools] == [words, sign_mantissas, exponents]
    assert [pool.slot_bytes for pool in partition.pools] == [shape.part_bytes(part) for part in Part]
    assert [pool.offset for pool in partition.pools] == [
        shape.slots_offset,
        *(pool.end for pool in partition.pools[:2]),
    ]
    assert partition.end == partition[PLANES[-1]].end


@given(st.integers(0, 9))
def test_a_place_is_a_slot_where_one_starts_and_nowhere_else(slots: int) -> None:
    pool = Pool(12 * PAGE, 3 * PAGE, slots)
    assert [pool.slot_at(pool.slot_offset(slot)) for slot in range(slots)] == list(range(slots))
    assert all(pool.slot_at(pool.offset + at) == -1 for at in (-3 * PAGE, PAGE, slots * 3 * PAGE))


def test_a_caller_of_another_epoch_is_told_both() -> None:
    same_epoch(5, 5, "/dev/shm/a")
    with pytest.raises(StaleEpoch, match=r"/dev/shm/a is at epoch 5, the request speaks of epoch 4"):
        same_epoch(4, 5, "/dev/shm/a")


def _flipped(page: bytes, bit: int) -> bytes:
    damaged = bytearray(page)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
