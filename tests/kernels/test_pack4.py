"""Pack4: whatever 16 bits a weight has, 12 and a list of escapes give them back, in any cut and any chunks."""

import mmap
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.kernels.matrices import random_matrix
from tests.kernels.packed import CHUNK, PAGE, SPAN, pack, packed
from tests.kernels.test_planes import any_words, random_words
from zipmoe.kernels import Packed4, exponents4, pack4, size4, unpack4


def unpacked(weight: Packed4, row: int = 0, rows: int | None = None) -> np.ndarray:
    out = np.full((weight.rows - row if rows is None else rows, weight.columns), 0x5555, np.uint16)
    unpack4(weight, out, 2, row)
    return out


@given(any_words)
@example(np.arange(1 << 16, dtype="<u2"))
@example(np.arange(0, 1 << 16, 128, dtype="<u2").repeat(128))
def test_any_word_survives(words: np.ndarray) -> None:
    assert (unpacked(packed(words.reshape(1, -1))) == words).all()


def test_every_small_size_survives() -> None:
    for n in range(520):
        words = random_words(n)
        assert (unpacked(packed(words.reshape(1, n))) == words).all(), n


@given(st.integers(0, 3000), st.data())
def test_a_matrix_may_lie_anywhere_in_a_run(n: int, data: st.DataObject) -> None:
    words = random_matrix(n, 1, n).reshape(-1)
    words[::97] = random_words(len(words[::97]))
    first = data.draw(st.integers(0, n))
    columns = data.draw(st.integers(1, 300))
    rows = data.draw(st.integers(0, (n - first) // columns))
    row = data.draw(st.integers(0, rows))
    sign_mantissa, part = pack(words)
    weight = Packed4(sign_mantissa, part, first, rows, columns)
    matrix = words[first : first + rows * columns].reshape(rows, columns)
    assert (unpacked(weight) == matrix).all()
    assert (unpacked(weight, row) == matrix[row:]).all()


def test_a_matrix_of_another_scale_costs_its_neighbours_nothing() -> None:
    """A span has a base of its own: gate, up and down of an expert may be far apart."""
    words = random_matrix(1, 1, 3 * SPAN).reshape(-1)
    words[SPAN : 2 * SPAN] += np.uint16(30 << 7)
    sign_mantissa, part = pack(words)
    assert len(part) < size4(3 * SPAN, 3 * SPAN // 4000)
    assert (unpacked(Packed4(sign_mantissa, part, 0, 3, SPAN)).reshape(-1) == words).all()


@pytest.mark.parametrize("n", [CHUNK, CHUNK + 1, 2 * CHUNK + 77777])
def test_chunks_may_be_of_other_scale(n: int) -> None:
    """Weights of the next chunk that are smaller by 2**-40 are no escapes."""
    words = random_matrix(1, 1, n).reshape(-1)
    words[CHUNK:] -= np.uint16(40 << 7)
    words[CHUNK - 1 : CHUNK + 1] = 0x7FC1
    sign_mantissa, part = pack(words)
    (escapes,) = struct.unpack_from("<8xI", part)
    assert escapes < CHUNK // 4000
    assert len(part) < 0.51 * n + PAGE * (n // CHUNK + 1)
    assert (unpacked(Packed4(sign_mantissa, part, 0, 1, n)) == words).all()
    across = min(4, n - CHUNK + 3)
    weight = Packed4(sign_mantissa, part, CHUNK - 3, 1, across)
    assert (unpacked(weight)[0] == words[CHUNK - 3 :][:across]).all()


def test_real_weights_have_few_escapes() -> None:
    words = random_matrix(0, 1024, 1024, 0.02)
    used = pack4(((words.reshape(-1) >> 7) & 0xFF).astype(np.uint8).data, bytearray(words.size))
    assert used is not None
    assert used < 0.501 * words.size


def test_says_that_escapes_do_not_fit_and_writes_no_further() -> None:
    words = random_words(10_000)
    exponents = ((words >> 7) & 0xFF).astype(np.uint8).data
    size = size4(len(words), 100)
    memory = bytearray(b"\xaa" * (size + 64))
    assert pack4(exponents, memoryview(memory)[:size]) is None
    assert memory[size:] == b"\xaa" * 64
    with pytest.raises(ValueError, match="no part of pack4"):
        Packed4(bytes(10_000), memory, 0, 1, 10_000)


def test_holds_read_only_maps() -> None:
    words = random_matrix(2, 4, 256)
    sign_mantissa, part = pack(words.reshape(-1))
    slot = mmap.mmap(-1, 8192)
    slot[: words.size] = bytes(sign_mantissa)
    slot[4096 : 4096 + len(part)] = part
    view = memoryview(slot).toreadonly()
    weight = Packed4(view[: words.size], view[4096:], 0, 4, 256)
    view.release()
    with pytest.raises(BufferError):
        slot.close()
    assert (unpacked(weight) == words).all()
    assert (weight.rows, weight.columns) == (4, 256)
    del weight
    slot.close()


def test_refuses_what_does_not_fit() -> None:
    sign_mantissa, part = pack(np.array([0x3F80] * 256 + [0xFFFF], np.uint16))
    for (plane, end), first, rows, columns, match in (
        ((sign_mantissa, part[:20]), 0, 1, 257, "chunk at weight 0: a part of 20 bytes has no head"),
        ((sign_mantissa, bytes(300)), 0, 1, 257, "300 bytes that are no part of pack4"),
        ((sign_mantissa, part[:-1]), 0, 1, 257, "257 weights with 1 escapes needs .* 260 bytes, and has 259"),
        ((sign_mantissa[1:], part), 0, 1, 257, "it has 257 weights, and should have 256"),
        ((sign_mantissa, part), 0, 1, 258, r"\[1, 258\] from weight 0 on does not fit a run of 257"),
        ((sign_mantissa, part), 257, 1, 1, r"\[1, 1\] from weight 257"),
        ((sign_mantissa, part), 1, 1 << 62, 8, "does not fit a run of 257"),
    ):
        with pytest.raises(ValueError, match=match):
            Packed4(plane, end, first, rows, columns)
    weight = Packed4(sign_mantissa, part, 0, 2, 128)
    with pytest.raises(ValueError, match=r"out \[2, 127\] does not fit weight \[2, 128\]"):
        unpack4(weight, np.zeros((2, 127), np.uint16), 1)
    with pytest.raises(ValueError, match="rows from 1 on"):
        unpack4(weight, np.zeros((2, 128), np.uint16), 1, 1)


@pytest.mark.parametrize(
    ("at", "value", "match"),
    [
        (0, 0, "no part of pack4"),
        (4, CHUNK + 1, "there are at most 1048576"),
        (4, 256, "it has 256 weights, and should have 257"),
        (8, 2, "257 weights with 2 escapes needs"),
        (16, 0xFF, "base 255 of span 0 is damaged"),
        (256, 257, "escape 0 of 1 at 257 is damaged"),
    ],
)
def test_refuses_damage(at: int, value: int, match: str) -> None:
    sign_mantissa, part = pack(np.array([0x3F80] * 256 + [0xFFFF], np.uint16))
    struct.pack_into("<I", part, at, value)
    with pytest.raises(ValueError, match=match):
        Packed4(sign_mantissa, part, 0, 1, 257)


def test_refuses_escapes_out_of_order() -> None:
    sign_mantissa, part = pack(np.array([0x3F80] * 256 + [0xFFFF, 0xFFFF], np.uint16))
    part[256:260] = part[260:264]
    with pytest.raises(ValueError, match="escape 1 of 2 at 257 is damaged"):
        Packed4(sign_mantissa, part, 0, 1, 258)


def test_a_run_has_all_its_chunks() -> None:
    sign_mantissa, parts = pack(np.zeros(CHUNK + 5, np.uint16))
    assert Packed4(sign_mantissa, parts, 0, 1, CHUNK + 5).columns == CHUNK + 5
    for end, why in ((CHUNK // 2, "chunk at weight 0: .* needs"), (-100, f"chunk at weight {CHUNK}: .* no head")):
        with pytest.raises(ValueError, match=why):
            Packed4(sign_mantissa, parts[:end], 0, 1, 5)


def test_chunks_have_a_bound() -> None:
    with pytest.raises(ValueError, match="1048577 weights: there are at most 1048576"):
        pack4(bytes(CHUNK + 1), bytearray(2 * CHUNK))
    with pytest.raises(ValueError, match="a part of 63 bytes does not fit a chunk of 1 weights: it needs 128"):
        pack4(bytes(1), bytearray(63))


@given(any_words)
def test_exponents_come_back(words: np.ndarray) -> None:
    exponents = ((words >> 7) & 0xFF).astype(np.uint8)
    part, back = bytearray(size4(len(words), len(words))), bytearray(len(words))
    assert pack4(exponents.data, part) is not None
    exponents4(part, back)
    assert bytes(back) == exponents.tobytes()
    with pytest.raises(ValueError, match=f"a chunk of {len(words)} weights for {len(words) + 1} exponents"):
        exponents4(part, bytearray(len(words) + 1))


def test_nothing_is_a_run_too() -> None:
    assert unpacked(Packed4(b"", b"", 0, 0, 7)).shape == (0, 7)
