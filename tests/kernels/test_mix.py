"""Mixing gives the bits that torch gives, part after part: products rounded, then sums."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zipmoe import kernels


@given(st.integers(1, 9), st.integers(1, 70), st.integers(0, 8), st.integers(0, 1 << 30))
@settings(deadline=None)
def test_mix_gives_the_bits_of_torch(rows: int, width: int, count: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    parts, expected = [], torch.zeros(rows, width, dtype=torch.bfloat16)
    for _ in range(count):
        places = np.sort(chance.choice(rows, chance.integers(0, rows + 1), replace=False))
        shares = chance.random(len(places), np.float32)
        x = torch.from_numpy(chance.standard_normal((len(places), width))).bfloat16()
        expected[places] += (x * torch.from_numpy(shares)[:, None]).bfloat16()
        parts.append((places, shares, x))
    total = torch.full((rows, width), torch.nan, dtype=torch.bfloat16)
    kernels.mix(total, parts)
    assert torch.equal(total, expected)


def test_says_what_does_not_fit() -> None:
    total, x = np.zeros((2, 4), np.uint16), np.zeros((1, 4), np.uint16)
    row, share = np.zeros(1, np.int64), np.zeros(1, np.float32)
    for part, match in (
        ((row, share, x[:, :3].copy()), r"x \[1, 3\] does not fit total \[2, 4\]"),
        ((row, np.zeros(2, np.float32), x), r"there are t rows and t shares"),
        ((row + 2, share, x), r"row 2 is not in total \[2, 4\]"),
        ((row - 1, share, x), r"row -1 is not in total \[2, 4\]"),
    ):
        with pytest.raises(ValueError, match=match):
            kernels.mix(total, [(row, share, x), part])
