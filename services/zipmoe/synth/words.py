"""Words: random BF16 weights, as fast as they can be written. No tensor's words depend on another tensor."""

from functools import cache
from hashlib import blake2b
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint16]
Floats = NDArray[np.float32]
Number = TypeVar("Number", np.uint16, np.float32)

# A weight's distribution, as 2**16 quantiles: a word of random bits picks one.
LEVELS = 1 << 16
# Trained weights have slightly heavier tails than a Gaussian: a quantile x becomes x · (1 + TAIL · x²), then RMS 1.
TAIL = 0.02
# Weights at a time: numpy widens each pick to 8 bytes, and those should stay in the cache.
BLOCK = 1 << 15


@cache
def quantiles() -> Floats:
    """Of a distribution with mean 0 and RMS 1: [LEVELS], rising."""
    normal = NormalDist()
    upper = np.array([normal.inv_cdf(0.5 + (i + 0.5) / LEVELS) for i in range(LEVELS // 2)])
    upper *= 1 + TAIL * upper**2
    upper /= np.sqrt(np.mean(upper**2))
    return np.concatenate((-upper[::-1], upper)).astype(np.float32)


@cache
def table(scale: float) -> Words:
    """The quantiles times `scale`, as BF16: [LEVELS]."""
    return to_bf16(quantiles() * np.float32(scale))


class Stream:
    """The random weights of one tensor, in order. Equal (seed, name) give equal weights on every machine."""

    def __init__(self, seed: int, name: str) -> None:
        digest = blake2b(f"{seed} {name}".encode(), digest_size=16).digest()
        self._bits = np.random.SFC64(int.from_bytes(digest, "little"))

    def words(self, count: int, scale: float) -> Words:
        """The next `count` weights, RMS `scale`."""
        return self._pick(table(scale), count)

    def floats(self, count: int) -> Floats:
        """The next `count` weights, RMS 1."""
        return self._pick(quantiles(), count)

    def _pick(self, values: NDArray[Number], count: int) -> NDArray[Number]:
        picked = np.empty(count, values.dtype)
        for at in range(0, count, BLOCK):
            block = picked[at : at + BLOCK]
            bits = self._bits.random_raw(-(-len(block) // 4)).astype("<u8", copy=False).view("<u2")
            values.take(bits[: len(block)], mode="clip", out=block)
        return picked


def to_bf16(values: Floats) -> Words:
    """Rounded to the nearest BF16, ties to even. The values must be finite."""
    bits = values.astype("<f4", copy=False).view("<u4")
    words: Words = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return words


def to_floats(words: Words) -> Floats:
    return (words.astype("<u4") << 16).view("<f4")


def exponent_entropy(words: Words) -> float:
    """Bits that an order-0 code needs for an exponent."""
    counts = np.bincount((words.ravel() >> 7) & 0xFF, minlength=256)
    shares = counts[counts > 0] / words.size
    return float(-(shares * np.log2(shares)).sum())
