"""Matrices of BF16 words, packed."""

import numpy as np

from zipmoe.kernels import Packed4, pack4, size4, split

CHUNK, SPAN = 1 << 20, 1 << 16


def pack(words: np.ndarray) -> tuple[bytearray, bytearray]:
    """(sign-mantissas, exponent part) of a run, the part as long as it must be."""
    n = len(words)
    exponents, sign_mantissa = bytearray(n), bytearray(n)
    split(np.ascontiguousarray(words).view(np.uint8).data, exponents, sign_mantissa)
    part = bytearray(size4(n, n))
    used: int | None = None
    for first in range(0, max(n, 1), CHUNK):
        used = pack4(memoryview(exponents)[first : first + CHUNK], part, n, first)
        assert used is not None
    return sign_mantissa, part[:used]


def packed(matrix: np.ndarray) -> Packed4:
    return Packed4(*pack(matrix.reshape(-1)), 0, *matrix.shape)
