"""Packed weights give the bits that their words give, escapes and all; that those are right, test_linear shows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.matrices import random_matrix
from tests.kernels.packed import BITS, CHUNK, SPAN, pack, packed
from zipmoe import kernels
from zipmoe.kernels import Packed

bits = st.sampled_from(BITS)
# Groups of 32 and of 64 are multiplied as they are; what is left of a row must give the same bits another way. So must
# columns behind the first 1024 or 2048, whose sums are put aside in between, and tokens behind the first 96.
columns = st.one_of(st.integers(1, 300), st.sampled_from([128, 256, 384, 512, 544, 768, 1408, 2048, 2080, 4100]))


def escaping(seed: int, matrix: np.ndarray, every: int) -> np.ndarray:
    """The matrix with finite words of any exponent strewn in."""
    words = matrix.reshape(-1)
    at = np.arange(seed % every, len(words), every)
    words[at] = np.random.default_rng(seed).integers(0, 1 << 16, len(at)) & 0xBFFF
    return matrix


def both(x: np.ndarray, weight: np.ndarray, form: Packed, threads: int) -> tuple[np.ndarray, np.ndarray]:
    ours, theirs = (np.full((len(x), len(weight)), 0x7FC0, np.uint16) for _ in range(2))
    kernels.linear(x, form, ours, threads)
    kernels.linear(x, weight, theirs, 1)
    return ours, theirs


shapes = st.tuples(st.one_of(st.integers(1, 13), st.integers(94, 98)), st.integers(0, 40), columns)
seeds, counts = st.integers(0, 1 << 30), st.integers(1, 3)


@given(bits, shapes, seeds, st.integers(1, 3000), counts)
@settings(deadline=None)
def test_linear_gives_the_bits_of_the_words(
    bits: int, shape: tuple[int, int, int], seed: int, every: int, threads: int
) -> None:
    m, n, k = shape
    x, weight = random_matrix(seed, m, k), escaping(seed, random_matrix(seed + 1, n, k), every)
    ours, theirs = both(x, weight, packed(bits, weight), threads)
    assert (ours == theirs).all()


@given(st.lists(st.tuples(bits, st.integers(0, 150)), max_size=4), st.integers(1, 13), columns, seeds, counts)
@settings(deadline=None)
def test_several_products_at_once_give_the_bits_of_each(
    forms: list[tuple[int, int]], m: int, k: int, seed: int, threads: int
) -> None:
    x = random_matrix(seed, m, k)
    weights = [packed(form, escaping(seed, random_matrix(seed + i, n, k), 99)) for i, (form, n) in enumerate(forms)]
    ours, theirs = ([np.full((m, n), 0x7FC0, np.uint16) for _, n in forms] for _ in range(2))
    kernels.linears(x, list(zip(weights, ours, strict=True)), threads)
    for weight, out in zip(weights, theirs, strict=True):
        kernels.linear(x, weight, out, 1)
    assert all((one == other).all() for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("border", [SPAN, 3 * SPAN, CHUNK])
@pytest.mark.parametrize("k", [1024, 1408, 1100])
def test_rows_may_cross_spans_of_other_scale(bits: int, k: int, border: int) -> None:
    n = border // k + 9
    weight = escaping(k, random_matrix(k, n, k), 5000)
    weight.reshape(-1)[border:] -= np.uint16(20 << 7)
    x = random_matrix(k + 1, 3, k)
    ours, theirs = both(x, weight, packed(bits, weight), 2)
    assert (ours == theirs).all()


@pytest.mark.parametrize("bits", BITS)
def test_infinities_and_nans_come_through(bits: int) -> None:
    weight = random_matrix(0, 6, 256)
    weight[0, 3], weight[1, 200], weight[2, 255], weight[5, 0] = 0x7F80, 0xFF80, 0x7FC1, 0xFF81
    ours, theirs = both(random_matrix(1, 2, 256), weight, packed(bits, weight), 1)
    assert (ours == theirs).all()
    assert (ours[:, [0, 1]] & 0x7FFF == 0x7F80).all()
    assert (ours[:, [2, 5]] == 0x7FC0).all()


@given(bits, st.tuples(st.integers(1, 8), columns, columns), seeds, counts)
@settings(deadline=None, max_examples=50)
def test_expert_gives_the_bits_of_the_words(bits: int, shape: tuple[int, int, int], seed: int, threads: int) -> None:
    m, hidden, inner = shape
    x = random_matrix(seed, m, hidden)
    run = np.concatenate(
        [
            random_matrix(seed, 2 * inner, hidden, hidden**-0.5).reshape(-1),
            random_matrix(seed + 1, hidden, inner, inner**-0.5).reshape(-1),
        ]
    )
    run[seed % 1000 :: 1000] &= 0x87FF  # far below the window
    gate_up, down = run[: 2 * inner * hidden].reshape(-1, hidden), run[2 * inner * hidden :].reshape(hidden, inner)
    planes = pack(bits, run)
    ours, theirs = np.full_like(x, 0x7FC0), np.full_like(x, 0x7FC0)
    first, last = Packed(*planes, 0, *gate_up.shape), Packed(*planes, gate_up.size, *down.shape)
    kernels.expert(x, first, last, ours, threads)
    kernels.expert(x, gate_up, down, theirs, 1)
    assert (ours == theirs).all()
    alone, again = np.full_like(x[-1:], 0x7FC0), np.full_like(x, 0x7FC0)
    kernels.experts([(x[-1:], first, last, alone), (x, first, last, again)], threads)
    assert (alone == theirs[-1:]).all()
    assert (again == theirs).all()


def test_takes_tensors() -> None:
    x, weight = torch.randn(3, 256).bfloat16(), torch.randn(70, 256).bfloat16()
    out = torch.empty(3, 70, dtype=torch.bfloat16)
    kernels.linear(x, packed(3, weight.view(torch.uint16).numpy()), out, 2)
    torch.testing.assert_close(out, torch.nn.functional.linear(x, weight), rtol=2**-7, atol=2**-6)


def test_says_what_does_not_fit() -> None:
    x = np.zeros((2, 4), np.uint16)
    gate_up, down, other = (packed(4, np.zeros(shape, np.uint16)) for shape in ((6, 4), (4, 3), (4, 2)))
    with pytest.raises(ValueError, match=r"weight \[4, 3\] does not fit x \[2, 4\]"):
        kernels.linear(x, down, x, 1)
    with pytest.raises(ValueError, match=r"out \[2, 4\] does not fit weight \[6, 4\]"):
        kernels.linear(x, gate_up, x, 1)
    with pytest.raises(ValueError, match="threads is 0"):
        kernels.linear(x, gate_up, np.zeros((2, 6), np.uint16), 0)
    with pytest.raises(ValueError, match=r"weight \[4, 3\] does not fit x \[2, 4\]"):
        kernels.linears(x, [(gate_up, np.zeros((2, 6), np.uint16)), (down, x)], 1)
    with pytest.raises(ValueError, match=r"a product is \(weight, out\), and this has 3"):
        kernels.linears(x, [(gate_up, x, x)], 1)  # type: ignore[list-item]
    for first, last, out, match in (
        (down, down, x, r"gate_up \[4, 3\] does not fit x \[2, 4\]"),
        (gate_up, gate_up, x, r"down \[6, 4\] does not fit x \[2, 4\]"),
        (gate_up, other, x, r"down \[4, 2\] does not fit gate_up \[6, 4\]"),
        (gate_up, down, x[:1], r"out \[1, 4\] does not fit x \[2, 4\]"),
    ):
        with pytest.raises(ValueError, match=match):
            kernels.expert(x, first, last, out, 1)
