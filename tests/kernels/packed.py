"""Matrices of BF16 words, packed."""

import numpy as np

from zipmoe import kernels
from zipmoe.kernels import Packed, most_bytes, split

BITS = (3, 4)
CHUNK, SPAN, PAGE, FILE_PAGE = 1 << 20, 1 << 16, 1 << 12, 4096


def exponents_of(words: np.ndarray) -> bytes:
    return bytes(((words >> 7) & 0xFF).astype(np.uint8))


def pack(bits: int, words: np.ndarray) -> tuple[bytearray, bytearray]:
    """(sign-mantissas, exponents in parts) of a run, the last part as long as it must be."""
    n = len(words)
    exponents, sign_mantissa, parts = bytearray(n), bytearray(n), bytearray()
    split(np.ascontiguousarray(words).view(np.uint8).data, exponents, sign_mantissa)
    for first in range(0, n, CHUNK):
        chunk = memoryview(exponents)[first : first + CHUNK]
        part = bytearray(most_bytes(bits, len(chunk)))
        used = kernels.pack(bits, chunk, part)
        assert used is not None
        parts += bytes(-len(parts) % FILE_PAGE) + part[:used]
    return sign_mantissa, parts


def packed(bits: int, matrix: np.ndarray) -> Packed:
    return Packed(*pack(bits, matrix.reshape(-1)), 0, *matrix.shape)
