"""Planes: whatever 16 bits a weight has, splitting and merging gives them back."""

import mmap

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zipmoe.kernels import merge, split

# NaNs with payloads, both infinities, both zeros, subnormals, the largest and the smallest normal numbers.
SPECIAL = [0x7FC1, 0xFF81, 0x7F80, 0xFF80, 0x0000, 0x8000, 0x0001, 0x807F, 0x7F7F, 0x0080]

any_words = st.one_of(
    st.lists(st.integers(0, 0xFFFF), max_size=200),
    st.lists(st.sampled_from(SPECIAL), max_size=200),
    st.builds(lambda word, n: [word] * n, st.integers(0, 0xFFFF), st.integers(0, 300)),
).map(lambda words: np.array(words, dtype="<u2"))


def planes(words: np.ndarray) -> tuple[bytearray, bytearray]:
    exponents, sign_mantissas = bytearray(len(words)), bytearray(len(words))
    split(words.tobytes(), exponents, sign_mantissas)
    return exponents, sign_mantissas


def random_words(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 1 << 16, n, dtype="<u2")


@given(any_words)
@example(np.arange(1 << 16, dtype="<u2"))
def test_planes_are_what_the_formula_says(words: np.ndarray) -> None:
    exponents, sign_mantissas = planes(words)
    assert bytes(exponents) == ((words >> 7) & 0xFF).astype(np.uint8).tobytes()
    assert bytes(sign_mantissas) == ((words >> 8) & 0x80 | words & 0x7F).astype(np.uint8).tobytes()


@given(any_words)
@example(np.arange(1 << 16, dtype="<u2"))
def test_merge_inverts_split(words: np.ndarray) -> None:
    exponents, sign_mantissas = planes(words)
    merged = bytearray(2 * len(words))
    merge(exponents, sign_mantissas, merged)
    assert bytes(merged) == words.tobytes()


def merged_in_place(words: np.ndarray, gap: int, chunk: int) -> bytes:
    """Merge in one buffer with the sign-mantissas `gap` bytes behind the earliest place, in ascending chunks."""
    n = len(words)
    exponents, sign_mantissas = planes(words)
    memory = bytearray(2 * n + gap)
    slot = memoryview(memory)
    slot[n + gap : 2 * n + gap] = sign_mantissas
    plane = slot[n + gap :]
    for c in range(0, n, chunk):
        k = min(chunk, n - c)
        merge(memoryview(exponents)[c : c + k], plane[c : c + k], slot[2 * c : 2 * (c + k)])
    return bytes(slot[: 2 * n])


def test_merges_in_place_for_every_small_size() -> None:
    for n in range(301):
        words = random_words(n)
        for gap in (0, 1):
            assert merged_in_place(words, gap, max(n, 1)) == words.tobytes(), (n, gap)


@given(st.integers(0, 100_000), st.integers(0, 200), st.integers(1, 100_000))
def test_merges_in_place_by_ascending_chunks(n: int, gap: int, chunk: int) -> None:
    words = random_words(n)
    assert merged_in_place(words, gap, max(chunk, n // 20, 1)) == words.tobytes()


def test_takes_mmap_and_read_only_buffers() -> None:
    words = random_words(4096)
    with mmap.mmap(-1, 8192) as slot:
        exponents, sign_mantissas = planes(words)
        merge(bytes(exponents), memoryview(bytes(sign_mantissas)), slot)
        assert slot[:] == words.tobytes()


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="5 bytes of words, 2 of exponents, 2 of sign-mantissas"):
        split(bytes(5), bytearray(2), bytearray(2))
    with pytest.raises(ValueError, match="planes do not fit"):
        merge(bytes(2), bytes(3), bytearray(4))
    with pytest.raises(BufferError):
        merge(bytes(2), bytes(2), bytes(4))


def test_refuses_overlap_that_would_corrupt() -> None:
    slot = memoryview(bytearray(64))
    with pytest.raises(ValueError, match="words \\+ n"):
        merge(bytes(32), slot[31:63], slot)
    with pytest.raises(ValueError, match="exponents overlap"):
        merge(slot[32:], bytes(32), slot)
    with pytest.raises(ValueError, match="overlap"):
        split(slot, slot[:32], bytearray(32))
