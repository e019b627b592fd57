"""Linear: right to the last place that BF16 has, and the same bits however it is shared out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.matrices import bf16, float64, random_matrix
from zipmoe import kernels

# The kernel has another way for more than 2, 6 or 10 tokens, and beyond 96 of them takes a part at a time; and 1024 or
# 2048 columns at a time in any case.
sizes = st.tuples(
    st.one_of(st.integers(1, 13), st.integers(95, 98)),
    st.one_of(st.integers(1, 200), st.integers(510, 580), st.sampled_from([1024, 2047, 2048, 2049, 4130])),
    st.integers(1, 150),
)


def linear(x: np.ndarray, weight: np.ndarray, threads: int = 1) -> np.ndarray:
    out = np.full((len(x), len(weight)), 0x7FC0, np.uint16)
    kernels.linear(x, weight, out, threads)
    return out


@given(sizes, st.integers(0, 1 << 30))
@settings(deadline=None)
def test_is_the_exact_sum_rounded_once(size: tuple[int, int, int], seed: int) -> None:
    m, k, n = size
    x, weight = random_matrix(seed, m, k), random_matrix(seed + 1, n, k)
    exact = float64(x) @ float64(weight).T
    # Half a unit in the last place of BF16, and what FP32 sums may lose before.
    bound = np.abs(exact) * 2.0**-8 + np.abs(float64(x)) @ np.abs(float64(weight)).T * k * 2.0**-24
    assert (np.abs(float64(linear(x, weight)) - exact) <= bound).all()


@given(sizes, st.integers(0, 1 << 30), st.integers(2, 4))
@settings(deadline=None, max_examples=50)
def test_bits_depend_neither_on_threads_nor_on_other_rows(size: tuple[int, int, int], seed: int, threads: int) -> None:
    m, k, n = size
    x, weight = random_matrix(seed, m, k), random_matrix(seed + 1, n, k)
    together = linear(x, weight)
    assert (linear(x, weight, threads) == together).all()
    for row in range(m):
        assert (linear(x[row : row + 1], weight) == together[row]).all()


def test_rounds_as_torch_does() -> None:
    """Through a one-by-one matrix: ties, overflow to infinity, NaN, signed zero."""
    x = np.array([[0x3F81], [0x7F7F], [0x7FC0], [0xFF80], [0x8000], [0x0100]], np.uint16)
    for factor in (0x3F80, 0x3F81, 0x3FC0, 0x4000, 0x3F00, 0x7F80, 0x8000):
        # Which NaN is not said: torch's own paths differ.
        torch.testing.assert_close(*products(x, factor), rtol=0, atol=0, equal_nan=True)


def test_subnormal_numbers_count_or_are_zero() -> None:
    """Zero where the processor multiplies BF16 itself."""
    x = np.array([[0x0001], [0x8041], [0x007F], [0x0080]], np.uint16)
    for factor in (0x3F80, 0x3F81, 0x3F00, 0x8040, 0x4000):
        ours, theirs = products(x, factor)
        assert ((ours == theirs) | (ours == 0)).all()
        assert (theirs.float().abs() < 2.0**-124).all()


def products(x: np.ndarray, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ours and torch's of FP32, rounded."""
    weight = np.array([[factor]], np.uint16)
    exact = torch.from_numpy(x).view(torch.bfloat16).float() * torch.from_numpy(weight).view(torch.bfloat16).float()
    return torch.from_numpy(linear(x, weight)).view(torch.bfloat16), exact.bfloat16()


def test_takes_bfloat16_tensors_and_read_only_weights() -> None:
    x, weight = torch.randn(3, 96).bfloat16(), torch.randn(130, 96).bfloat16()
    out = torch.empty(3, 130, dtype=torch.bfloat16)
    kernels.linear(x, weight, out, 2)
    torch.testing.assert_close(out, torch.nn.functional.linear(x, weight), rtol=2**-7, atol=2**-6)
    words = weight.view(torch.uint16).numpy()
    words.flags.writeable = False
    assert (linear(x.view(torch.uint16).numpy(), words) == out.view(torch.uint16).numpy()).all()


@pytest.mark.parametrize(("x", "weight", "out"), [((2, 0), (3, 0), (2, 3)), ((0, 4), (3, 4), (0, 3))])
def test_empty(x: tuple[int, int], weight: tuple[int, int], out: tuple[int, int]) -> None:
    result = linear(np.zeros(x, np.uint16), np.zeros(weight, np.uint16), 2)
    assert result.shape == out
    assert not result.any()


def test_says_what_does_not_fit() -> None:
    x, weight, out = (np.zeros(shape, np.uint16) for shape in ((2, 4), (3, 5), (2, 3)))
    with pytest.raises(ValueError, match=r"weight \[3, 5\] does not fit x \[2, 4\]"):
        kernels.linear(x, weight, out, 1)
    with pytest.raises(ValueError, match=r"out \[2, 4\] does not fit weight \[3, 4\]"):
        kernels.linear(x, np.zeros((3, 4), np.uint16), x, 1)
    with pytest.raises(ValueError, match="weight must be bfloat16"):
        kernels.linear(x, torch.zeros(3, 4, dtype=torch.float16), out, 1)
    with pytest.raises(ValueError, match=r"weight \[3, 4\] must be C-contiguous"):
        kernels.linear(x, np.zeros((3, 8), np.uint16)[:, ::2], out, 1)
    with pytest.raises(ValueError, match=r"x has shape \[4\]"):
        kernels.linear(x[0], np.zeros((3, 4), np.uint16), out, 1)
    with pytest.raises(ValueError, match="threads is 0"):
        kernels.linear(x, np.zeros((3, 4), np.uint16), out, 0)


def test_words_of_matrices_are_bf16() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert (bf16(values) == torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()).all()
