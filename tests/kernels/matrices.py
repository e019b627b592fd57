"""Matrices of BF16 in numpy, where they are uint16 words."""

import numpy as np


def bf16(values: np.ndarray) -> np.ndarray:
    """Rounded to nearest, ties to even; no NaN. Words of the same shape."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def float64(words: np.ndarray) -> np.ndarray:
    return (words.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def random_matrix(seed: int, rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
    return bf16(np.random.default_rng((seed, rows, columns)).standard_normal((rows, columns)) * scale)
