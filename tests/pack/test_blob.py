"""Blobs: their arithmetic, and that nothing else passes for one."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipmoe.pack.blob import CHUNK, PAGE, Blob, chunks, padded, slot_bytes

hashes = st.integers(0, (1 << 64) - 1)


@st.composite
def blobs(draw: st.DrawFn) -> Blob:
    weights = draw(st.integers(0, 4 * CHUNK))
    sizes = tuple(draw(st.integers(1, length)) for _, length in chunks(weights))
    offset, *packed = (PAGE * draw(st.integers(0, 1 << 30)) for _ in range(3))
    return Blob(offset, weights, sizes, tuple(packed), draw(hashes), draw(hashes), draw(hashes))


@given(blobs())
def test_survives_the_wire(blob: Blob) -> None:
    assert Blob.from_wire(msgpack.unpackb(msgpack.packb(blob.to_wire()))) == blob


@given(blobs())
def test_parts_are_whole_pages_side_by_side(blob: Blob) -> None:
    assert blob.exponent_bytes % PAGE == 0
    assert blob.offset <= blob.sign_mantissa_offset <= blob.end
    assert blob.end - blob.sign_mantissa_offset == padded(blob.weights)


@given(st.integers(0, 5 * CHUNK))
def test_chunks_cover_a_run(weights: int) -> None:
    end = 0
    for first, length in chunks(weights):
        assert first == end
        assert 0 < length <= CHUNK
        end += length
    assert end == weights
    assert slot_bytes(weights) >= 2 * weights


@given(st.one_of(st.none(), st.lists(st.one_of(st.integers(), st.lists(st.integers(), max_size=3)), max_size=8)))
def test_rubbish_is_a_value_error(wire: object) -> None:
    try:
        blob = Blob.from_wire(wire)
    except ValueError:
        return
    assert blob.to_wire() == wire


@pytest.mark.parametrize(
    "wire",
    [
        [1, 5, [5], 0, 0, 0, 0],  # not at a page
        [0, 5, [6], 0, 0, 0, 0],  # larger than what is stored as it is
        [0, 5, [], 0, 0, 0, 0],  # too few chunks
        [0, 1 << 63, [1], 0, 0, 0, 0],
        [0, 5, [5], 6, 0, 0, 0],
        [0, 5, [5], 0, 0, 0, 1 << 64],
        [0, 5, [5], 0, 0, 0],
        "no blob",
    ],
)
def test_refuses(wire: object) -> None:
    with pytest.raises(ValueError, match="not a blob"):
        Blob.from_wire(wire)
