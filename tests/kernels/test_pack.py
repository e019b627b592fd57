"""Pack: whatever 16 bits a weight has, 11 or 12 and a list of escapes give them back, in any cut and any chunks."""

import mmap
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.kernels.matrices import random_matrix
from tests.kernels.packed import BITS, CHUNK, PAGE, SPAN, exponents_of, pack, packed
from tests.kernels.test_planes import any_words, random_words
from zipmoe import kernels
from zipmoe.kernels import Packed, most_bytes, unpack, unpack_exponents

bits = st.sampled_from(BITS)
# Of weights like trained ones, all told: codes, escapes, heads and the table of pages.
GAUSSIAN_BITS = {3: 3.3, 4: 4.2}


def unpacked(weight: Packed, row: int = 0, rows: int | None = None) -> np.ndarray:
    out = np.full((weight.rows - row if rows is None else rows, weight.columns), 0x5555, np.uint16)
    unpack(weight, out, 2, row)
    return out


@given(bits, any_words)
@example(3, np.arange(1 << 16, dtype="<u2"))
@example(4, np.arange(1 << 16, dtype="<u2"))
@example(3, np.arange(0, 1 << 16, 128, dtype="<u2").repeat(128))
@example(4, np.arange(0, 1 << 16, 128, dtype="<u2").repeat(128))
def test_any_word_survives(bits: int, words: np.ndarray) -> None:
    assert (unpacked(packed(bits, words.reshape(1, -1))) == words).all()


@pytest.mark.parametrize("bits", BITS)
def test_every_small_size_survives(bits: int) -> None:
    for n in range(520):
        words = random_words(n)
        assert (unpacked(packed(bits, words.reshape(1, n))) == words).all(), n


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("n", [PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 300, SPAN + 5])
def test_pages_without_escapes_survive(bits: int, n: int) -> None:
    """And those with one in the last place, or the first."""
    for at in ([], [n - 1], [0], [PAGE - 2, min(PAGE, n - 1)]):
        words = np.full(n, 0x3F80, np.uint16)
        words[at] = 0x0001
        assert (unpacked(packed(bits, words.reshape(1, n))) == words).all()


@given(bits, st.integers(0, 9000), st.data())
def test_a_matrix_may_lie_anywhere_in_a_run(bits: int, n: int, data: st.DataObject) -> None:
    words = random_matrix(n, 1, n).reshape(-1)
    words[::97] = random_words(len(words[::97]))
    first = data.draw(st.integers(0, n))
    columns = data.draw(st.integers(1, 300))
    rows = data.draw(st.integers(0, (n - first) // columns))
    row = data.draw(st.integers(0, rows))
    weight = Packed(*pack(bits, words), first, rows, columns)
    matrix = words[first : first + rows * columns].reshape(rows, columns)
    assert (unpacked(weight) == matrix).all()
    assert (unpacked(weight, row) == matrix[row:]).all()


@pytest.mark.parametrize("bits", BITS)
def test_a_matrix_of_another_scale_costs_its_neighbours_nothing(bits: int) -> None:
    """A span has a base of its own: gate, up and down of an expert may be far apart."""
    words = random_matrix(1, 1, 3 * SPAN).reshape(-1)
    words[SPAN : 2 * SPAN] += np.uint16(30 << 7)
    sign_mantissa, parts = pack(bits, words)
    assert 8 * len(parts) < GAUSSIAN_BITS[bits] * 3 * SPAN
    assert (unpacked(Packed(sign_mantissa, parts, 0, 3, SPAN)).reshape(-1) == words).all()


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("n", [CHUNK, CHUNK + 1, 2 * CHUNK + 77777])
def test_chunks_may_be_of_other_scale(n: int, bits: int) -> None:
    """Weights of the next chunk that are smaller by 2**-40 are no escapes."""
    words = random_matrix(1, 1, n).reshape(-1)
    words[CHUNK:] -= np.uint16(40 << 7)
    words[CHUNK - 1 : CHUNK + 1] = 0x7FC1
    sign_mantissa, parts = pack(bits, words)
    assert 8 * len(parts) < GAUSSIAN_BITS[bits] * n + 8 * 4096 * (n // CHUNK + 1)
    assert (unpacked(Packed(sign_mantissa, parts, 0, 1, n)) == words).all()
    across = min(4, n - CHUNK + 3)
    weight = Packed(sign_mantissa, parts, CHUNK - 3, 1, across)
    assert (unpacked(weight)[0] == words[CHUNK - 3 :][:across]).all()


@pytest.mark.parametrize("bits", BITS)
def test_says_that_escapes_do_not_fit_and_writes_no_further(bits: int) -> None:
    words = random_words(10_000)
    size = most_bytes(bits, len(words)) - 10_000
    memory = bytearray(b"\xaa" * (size + 64))
    for room in (size, size // 8, 63, 0):
        assert kernels.pack(bits, exponents_of(words), memoryview(memory)[:room]) is None
        assert memory[size:] == b"\xaa" * 64
    with pytest.raises(ValueError, match="no part of a packed run"):
        Packed(bytes(10_000), memory, 0, 1, 10_000)


def test_holds_read_only_maps() -> None:
    words = random_matrix(2, 4, 256)
    sign_mantissa, parts = pack(3, words.reshape(-1))
    slot = mmap.mmap(-1, 8192)
    slot[: words.size] = bytes(sign_mantissa)
    slot[4096 : 4096 + len(parts)] = parts
    view = memoryview(slot).toreadonly()
    weight = Packed(view[: words.size], view[4096:], 0, 4, 256)
    view.release()
    with pytest.raises(BufferError):
        slot.close()
    assert (unpacked(weight) == words).all()
    assert (weight.rows, weight.columns) == (4, 256)
    del weight
    slot.close()


# 257 weights in codes of 4 bits: head, a line for the pages, five blocks, escapes at 0, 255, 256 and behind the end.
ESCAPES = 64 + 64 + 5 * 32


def small() -> tuple[bytearray, bytearray]:
    return pack(4, np.array([0x3F80] * 256 + [0xFFFF], np.uint16))


def test_says_what_does_not_fit() -> None:
    sign_mantissa, parts = small()
    assert len(parts) == ESCAPES + 4 * 2
    for (plane, end), first, rows, columns, match in (
        ((sign_mantissa, parts[:20]), 0, 1, 257, "chunk at weight 0: a part of 20 bytes has no head"),
        ((sign_mantissa, bytes(300)), 0, 1, 257, "300 bytes that are no part of a packed run"),
        ((sign_mantissa, parts[:-1]), 0, 1, 257, "257 weights with 4 escapes needs a part of 296 bytes, and has 295"),
        ((sign_mantissa[1:], parts), 0, 1, 257, "it has 257 weights, and should have 256"),
        ((sign_mantissa, parts), 0, 1, 258, r"\[1, 258\] from weight 0 on does not fit a run of 257"),
        ((sign_mantissa, parts), 257, 1, 1, r"\[1, 1\] from weight 257"),
        ((sign_mantissa, parts), 1, 1 << 62, 8, "does not fit a run of 257"),
    ):
        with pytest.raises(ValueError, match=match):
            Packed(plane, end, first, rows, columns)
    weight = Packed(sign_mantissa, parts, 0, 2, 128)
    with pytest.raises(ValueError, match=r"out \[2, 127\] does not fit weight \[2, 128\]"):
        unpack(weight, np.zeros((2, 127), np.uint16), 1)
    with pytest.raises(ValueError, match="rows from 1 on"):
        unpack(weight, np.zeros((2, 128), np.uint16), 1, 1)


@pytest.mark.parametrize(
    ("at", "value", "match"),
    [
        (0, 0, "no part of a packed run"),
        (4, CHUNK + 1, "there are at most 1048576"),
        (4, 256, "of a chunk of 256 weights is damaged"),
        (8, 5, "257 weights with 5 escapes needs"),
        (8, 3, "escape 3 of a chunk of 257 weights is damaged"),
        (12, 5, "codes of 5 bits"),
        (64, 1, "page 0 of a chunk of 257 weights is damaged"),
        (ESCAPES + 2, 0, "escape 1 of a chunk of 257 weights is damaged"),
        (ESCAPES + 2, 1, "escape 4 of a chunk of 257 weights is damaged"),
    ],
)
def test_refuses_damage(at: int, value: int, match: str) -> None:
    sign_mantissa, parts = small()
    struct.pack_into("<I" if at < ESCAPES else "<B", parts, at, value)
    with pytest.raises(ValueError, match=match):
        Packed(sign_mantissa, parts, 0, 1, 257)


@given(bits, st.integers(1, 9000), st.data())
def test_what_passes_is_read_within_its_bounds(bits: int, n: int, data: st.DataObject) -> None:
    """Any change to a part is either refused, or harmless but for the numbers."""
    sign_mantissa, parts = pack(bits, random_words(n))
    for _ in range(data.draw(st.integers(1, 5))):
        parts[data.draw(st.integers(0, len(parts) - 1))] = data.draw(st.integers(0, 255))
    try:
        weight = Packed(sign_mantissa, parts, 0, 1, n)
    except ValueError:
        return
    assert unpacked(weight).shape == (1, n)


def test_a_run_has_all_its_chunks() -> None:
    sign_mantissa, parts = pack(3, np.zeros(CHUNK + 5, np.uint16))
    assert Packed(sign_mantissa, parts, 0, 1, CHUNK + 5).columns == CHUNK + 5
    for end, why in ((CHUNK // 4, "chunk at weight 0: .* needs"), (-300, f"chunk at weight {CHUNK}: .* no head")):
        with pytest.raises(ValueError, match=why):
            Packed(sign_mantissa, parts[:end], 0, 1, 5)


def test_chunks_and_codes_have_bounds() -> None:
    with pytest.raises(ValueError, match="1048577 weights: there are at most 1048576"):
        kernels.pack(3, bytes(CHUNK + 1), bytearray(2 * CHUNK))
    for bits in (2, 5, 0, -1):
        with pytest.raises(ValueError, match=f"codes of {bits} bits: there are 3 and 4"):
            kernels.pack(bits, bytes(1), bytearray(1000))


@given(bits, any_words)
def test_exponents_come_back(bits: int, words: np.ndarray) -> None:
    part, back = bytearray(most_bytes(bits, len(words))), bytearray(len(words))
    assert kernels.pack(bits, exponents_of(words), part) is not None
    unpack_exponents(part, back)
    assert bytes(back) == exponents_of(words)
    with pytest.raises(ValueError, match=f"a chunk of {len(words)} weights for {len(words) + 1} exponents"):
        unpack_exponents(part, bytearray(len(words) + 1))


def test_nothing_is_a_run_too() -> None:
    assert unpacked(Packed(b"", b"", 0, 0, 7)).shape == (0, 7)
