"""Pack4: whatever 16 bits a weight has, 12 and a list of escapes give them back, in any cut and any chunks."""

import mmap
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.kernels.matrices import random_matrix
from tests.kernels.packed import CHUNK, SPAN, pack, packed
from tests.kernels.test_planes import any_words, random_words
from zipmoe.kernels import Packed4, pack4, size4, unpack4


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
def test_chunks_of_other_scale_are_appended(n: int) -> None:
    """Weights of the next chunk that are smaller by 2**-40 are no escapes."""
    words = random_matrix(1, 1, n).reshape(-1)
    words[CHUNK:] -= np.uint16(40 << 7)
    words[CHUNK - 1 : CHUNK + 1] = 0x7FC1
    sign_mantissa, part = pack(words)
    (escapes,) = struct.unpack_from("<4xI", part)
    assert escapes < n // 4000
    assert len(part) == size4(n, escapes) < 0.51 * n
    assert (unpacked(Packed4(sign_mantissa, part, 0, 1, n)) == words).all()
    across = min(4, n - CHUNK + 3)
    weight = Packed4(sign_mantissa, part, CHUNK - 3, 1, across)
    assert (unpacked(weight)[0] == words[CHUNK - 3 :][:across]).all()


def test_real_weights_have_few_escapes() -> None:
    words = random_matrix(0, 1024, 1024, 0.02)
    used = pack4(((words.reshape(-1) >> 7) & 0xFF).astype(np.uint8).data, bytearray(words.size), words.size)
    assert used is not None
    assert used < 0.501 * words.size


def test_says_that_escapes_do_not_fit_and_writes_no_further() -> None:
    words = random_words(10_000)
    exponents = ((words >> 7) & 0xFF).astype(np.uint8).data
    size = size4(len(words), 100)
    memory = bytearray(b"\xaa" * (size + 64))
    assert pack4(exponents, memoryview(memory)[:size], len(words)) is None
    assert memory[size:] == b"\xaa" * 64
    with pytest.raises(ValueError, match="a run of 10000 weights of which 0 are packed"):
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
        ((sign_mantissa, part[:20]), 0, 1, 257, "20 bytes has no head"),
        ((sign_mantissa, bytes(300)), 0, 1, 257, "300 bytes that are no exponent part"),
        ((sign_mantissa, part[:-1]), 0, 1, 257, "257 weights with 1 escapes needs .* 264 bytes, and has 263"),
        ((sign_mantissa[1:], part), 0, 1, 257, "256 bytes of sign-mantissas for a run of 257 weights"),
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
        (8, 1 << 33, "longer than positions of 32 bits"),
        (8, 300, "300 weights of which 257 are packed"),
        (16, 256, "257 weights of which 256 are packed"),
        (24, 0xFF, "base 255 of span 0 is damaged"),
        (256, 257 | 255 << 32, "escape 0 of 1 at 257 is damaged"),
        (256, 256 | 256 << 32, "escape 0 of 1 at 256 is damaged"),
    ],
)
def test_refuses_damage(at: int, value: int, match: str) -> None:
    sign_mantissa, part = pack(np.array([0x3F80] * 256 + [0xFFFF], np.uint16))
    struct.pack_into("<Q", part, at, value)
    with pytest.raises(ValueError, match=match):
        Packed4(sign_mantissa, part, 0, 1, 257)


def test_refuses_escapes_out_of_order() -> None:
    sign_mantissa, part = pack(np.array([0x3F80] * 256 + [0xFFFF, 0xFFFF], np.uint16))
    part[256:264] = part[264:272]
    with pytest.raises(ValueError, match="escape 1 of 2 at 257 is damaged"):
        Packed4(sign_mantissa, part, 0, 1, 258)


def test_refuses_chunks_out_of_order() -> None:
    weights = CHUNK + 5
    part = bytearray(size4(weights))
    with pytest.raises(ValueError, match=f"needs {len(part)}"):
        pack4(bytes(CHUNK), part[:-1], weights)
    with pytest.raises(ValueError, match=f"not started for a run of {weights}"):
        pack4(bytes(5), part, weights, CHUNK)
    assert pack4(bytes(CHUNK), part, weights) == len(part)
    with pytest.raises(ValueError, match=f"a run of {weights} weights of which {CHUNK} are packed"):
        Packed4(bytes(weights), part, 0, 1, 5)
    with pytest.raises(ValueError, match=f"4 exponents do not fit weight {CHUNK} of {weights}"):
        pack4(bytes(4), part, weights, CHUNK)
    assert pack4(bytes(5), part, weights, CHUNK) == len(part)
    with pytest.raises(ValueError, match=f"a run of which {weights} are packed"):
        pack4(bytes(5), part, weights, CHUNK)


def test_nothing_is_a_run_too() -> None:
    part = bytearray(size4(0))
    assert pack4(b"", part, 0) == len(part)
    assert unpacked(Packed4(b"", part, 0, 0, 7)).shape == (0, 7)
