"""Streams: the tokens that every contestant is made to write, the same for all. Pure.

Random tokens: on them, synthetic models route as unequally as published ones do, which was measured so. What such a
model would write of itself soon goes round in circles.
"""

from collections.abc import Sequence

import numpy as np

Stream = Sequence[int]


def streams(vocabulary: int, purpose: str, count: int, length: int) -> list[Stream]:
    """So many, each of its own beginning. Equal arguments give equal streams."""
    chance = np.random.default_rng([count, length, *purpose.encode()])
    return [row.tolist() for row in chance.integers(0, vocabulary, (count, length))]
