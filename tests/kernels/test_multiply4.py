"""Packed weights give the bits that their words give, escapes and all; that those are right, test_linear shows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.matrices import random_matrix
from tests.kernels.packed import CHUNK, SPAN, pack, packed
from zipmoe import kernels
from zipmoe.kernels import Packed4

# Whole blocks of 128 are multiplied as they are; anything else must give the same bits another way.
columns = st.one_of(st.integers(1, 300), st.sampled_from([128, 256, 384, 768, 1408]))


def escaping(seed: int, matrix: np.ndarray, every: int) -> np.ndarray:
    """The matrix with finite words of any exponent strewn in."""
    words = matrix.reshape(-1)
    at = np.arange(seed % every, len(words), every)
    words[at] = np.random.default_rng(seed).integers(0, 1 << 16, len(at)) & 0xBFFF
    return matrix


def both(x: np.ndarray, weight: np.ndarray, form: Packed4, threads: int) -> tuple[np.ndarray, np.ndarray]:
    ours, theirs = (np.full((len(x), len(weight)), 0x7FC0, np.uint16) for _ in range(2))
    kernels.linear4(x, form, ours, threads)
    kernels.linear(x, weight, theirs, 1)
    return ours, theirs


@given(st.integers(1, 9), st.integers(0, 40), columns, st.integers(0, 1 << 30), st.integers(1, 3000), st.integers(1, 3))
@settings(deadline=None)
def test_linear_gives_the_bits_of_the_words(m: int, n: int, k: int, seed: int, every: int, threads: int) -> None:
    x, weight = random_matrix(seed, m, k), escaping(seed, random_matrix(seed + 1, n, k), every)
    ours, theirs = both(x, weight, packed(weight), threads)
    assert (ours == theirs).all()


@pytest.mark.parametrize("border", [SPAN, 3 * SPAN, CHUNK])
@pytest.mark.parametrize("k", [1024, 1408, 1100])
def test_rows_may_cross_spans_of_other_scale(k: int, border: int) -> None:
    n = border // k + 9
    weight = escaping(k, random_matrix(k, n, k), 5000)
    weight.reshape(-1)[border:] -= np.uint16(20 << 7)
    x = random_matrix(k + 1, 3, k)
    ours, theirs = both(x, weight, packed(weight), 2)
    assert (ours == theirs).all()


def test_infinities_and_nans_come_through() -> None:
    weight = random_matrix(0, 6, 256)
    weight[0, 3], weight[1, 200], weight[2, 255], weight[5, 0] = 0x7F80, 0xFF80, 0x7FC1, 0xFF81
    ours, theirs = both(random_matrix(1, 2, 256), weight, packed(weight), 1)
    assert (ours == theirs).all()
    assert (ours[:, [0, 1]] & 0x7FFF == 0x7F80).all()
    assert (ours[:, [2, 5]] == 0x7FC0).all()


@given(st.integers(1, 8), columns, columns, st.integers(0, 1 << 30), st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_expert_gives_the_bits_of_the_words(m: int, hidden: int, inner: int, seed: int, threads: int) -> None:
    x = random_matrix(seed, m, hidden)
    run = np.concatenate(
        [
            random_matrix(seed, 2 * inner, hidden, hidden**-0.5).reshape(-1),
            random_matrix(seed + 1, hidden, inner, inner**-0.5).reshape(-1),
        ]
    )
    run[seed % 1000 :: 1000] &= 0x87FF  # far below the window
    gate_up, down = run[: 2 * inner * hidden].reshape(-1, hidden), run[2 * inner * hidden :].reshape(hidden, inner)
    planes = pack(run)
    ours, theirs = np.full_like(x, 0x7FC0), np.full_like(x, 0x7FC0)
    first, last = Packed4(*planes, 0, *gate_up.shape), Packed4(*planes, gate_up.size, *down.shape)
    kernels.expert4(x, first, last, ours, threads)
    kernels.expert(x, gate_up, down, theirs, 1)
    assert (ours == theirs).all()
    alone = np.full_like(x[-1:], 0x7FC0)
    kernels.expert4(x[-1:], first, last, alone, threads)
    assert (alone == theirs[-1:]).all()


def test_takes_tensors() -> None:
    x, weight = torch.randn(3, 256).bfloat16(), torch.randn(70, 256).bfloat16()
    out = torch.empty(3, 70, dtype=torch.bfloat16)
    kernels.linear4(x, packed(weight.view(torch.uint16).numpy()), out, 2)
    torch.testing.assert_close(out, torch.nn.functional.linear(x, weight), rtol=2**-7, atol=2**-6)


def test_says_what_does_not_fit() -> None:
    x = np.zeros((2, 4), np.uint16)
    gate_up, down, other = (packed(np.zeros(shape, np.uint16)) for shape in ((6, 4), (4, 3), (4, 2)))
    with pytest.raises(ValueError, match=r"weight \[4, 3\] does not fit x \[2, 4\]"):
        kernels.linear4(x, down, x, 1)
    with pytest.raises(ValueError, match=r"out \[2, 4\] does not fit weight \[6, 4\]"):
        kernels.linear4(x, gate_up, x, 1)
    with pytest.raises(ValueError, match="threads is 0"):
        kernels.linear4(x, gate_up, np.zeros((2, 6), np.uint16), 0)
    for first, last, out, match in (
        (down, down, x, r"gate_up \[4, 3\] does not fit x \[2, 4\]"),
        (gate_up, gate_up, x, r"down \[6, 4\] does not fit x \[2, 4\]"),
        (gate_up, other, x, r"down \[4, 2\] does not fit gate_up \[6, 4\]"),
        (gate_up, down, x[:1], r"out \[1, 4\] does not fit x \[2, 4\]"),
    ):
        with pytest.raises(ValueError, match=match):
            kernels.expert4(x, first, last, out, 1)
