"""Matrices of BF16 words, packed."""

import numpy as np

from zipmoe.kernels import Packed4, pack4, size4, split

CHUNK, SPAN, PAGE = 1 << 20, 1 << 16, 4096


def pack(words: np.ndarray) -> tuple[bytearray, bytearray]:
    """(sign-mantissas, exponents in parts) of a run, the last part as long as it must be."""
    n = len(words)
    exponents, sign_mantissa, parts = bytearray(n), bytearray(n), bytearray()
    split(np.ascontiguousarray(words).view(np.uint8).data, exponents, sign_mantissa)
    for first in range(0, n, CHUNK):
        chunk = memoryview(exponents)[first : first + CHUNK]
        part = bytearray(size4(len(chunk), len(chunk)))
        used = pack4(chunk, part)
        assert used is not None
        parts += bytes(-len(parts) % PAGE) + part[:used]
    return sign_mantissa, parts


def packed(matrix: np.ndarray) -> Packed4:
    return Packed4(*pack(matrix.reshape(-1)), 0, *matrix.shape)
