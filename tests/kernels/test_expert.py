"""Expert: the fused feed-forward network against FP64 and against torch's eager BF16."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import linear, silu

from tests.kernels.matrices import bf16, float64, random_matrix
from zipmoe import kernels

sizes = st.tuples(st.integers(1, 8), st.integers(1, 120), st.integers(1, 150))


def weights(seed: int, hidden: int, inner: int) -> tuple[np.ndarray, np.ndarray]:
    return (
        random_matrix(seed, 2 * inner, hidden, hidden**-0.5),
        random_matrix(seed + 1, hidden, inner, inner**-0.5),
    )


def expert(x: np.ndarray, gate_up: np.ndarray, down: np.ndarray, threads: int = 1) -> np.ndarray:
    out = np.full_like(x, 0x7FC0)
    kernels.expert(x, gate_up, down, out, threads)
    return out


def exactly(x: np.ndarray, gate_up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In FP64, rounded where BF16 is; and how far a sum of that size may be off."""
    sums = float64(bf16(float64(x) @ float64(gate_up).T))
    gate, up = np.split(sums, 2, axis=1)
    inner = float64(bf16(float64(bf16(gate / (1 + np.exp(-gate)))) * up))
    return inner @ float64(down).T, np.abs(inner) @ np.abs(float64(down)).T


@given(sizes, st.integers(0, 1 << 30))
@settings(deadline=None)
def test_is_near_fp64(size: tuple[int, int, int], seed: int) -> None:
    m, hidden, inner = size
    x = random_matrix(seed, m, hidden)
    gate_up, down = weights(seed, hidden, inner)
    exact, magnitude = exactly(x, gate_up, down)
    # Gate, up, silu and product may each fall to the other side of a tie: a unit in the last place of BF16 each.
    assert (np.abs(float64(expert(x, gate_up, down)) - exact) <= np.abs(exact) * 2.0**-8 + magnitude * 2.0**-5).all()


@pytest.mark.parametrize("m", [1, 2, 5, 8])
def test_is_what_eager_torch_gives(m: int) -> None:
    x = random_matrix(m, m, 256)
    gate_up, down = weights(m, 256, 256)
    a, b, c = (torch.from_numpy(words).view(torch.bfloat16) for words in (x, gate_up, down))
    gate, up = linear(a, b).chunk(2, dim=-1)
    eager = linear(silu(gate) * up, c)
    ours = torch.empty_like(eager)
    kernels.expert(a, b, c, ours, 2)
    torch.testing.assert_close(ours, eager, rtol=2**-7, atol=2**-8)
    # Sums in another order differ by less than BF16 shows, nearly always.
    assert (ours == eager).float().mean() > 0.9


@given(sizes, st.integers(0, 1 << 30), st.integers(2, 4))
@settings(deadline=None, max_examples=50)
def test_bits_depend_neither_on_threads_nor_on_other_rows(size: tuple[int, int, int], seed: int, threads: int) -> None:
    m, hidden, inner = size
    x = random_matrix(seed, m, hidden)
    gate_up, down = weights(seed, hidden, inner)
    together = expert(x, gate_up, down)
    assert (expert(x, gate_up, down, threads) == together).all()
    assert (expert(x[-1:], gate_up, down) == together[-1]).all()


def test_several_callers_share_the_threads() -> None:
    x = random_matrix(0, 2, 192)
    gate_up, down = weights(0, 192, 320)
    expected = expert(x, gate_up, down)
    same: list[bool] = []

    def call() -> None:
        same.extend(bool((expert(x, gate_up, down, threads) == expected).all()) for threads in (1, 2, 3, 4) * 25)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(same) == 300
    assert all(same)


def test_says_what_does_not_fit() -> None:
    x, gate_up, down = (np.zeros(shape, np.uint16) for shape in ((2, 4), (6, 4), (4, 3)))
    for wrong, match in (
        ((x, down, down, x), r"gate_up \[4, 3\] does not fit x \[2, 4\]"),
        ((x, gate_up, gate_up, x), r"down \[6, 4\] does not fit x \[2, 4\]"),
        ((x, gate_up, np.zeros((4, 2), np.uint16), x), r"down \[4, 2\] does not fit gate_up \[6, 4\]"),
        ((x, gate_up, down, x[:1]), r"out \[1, 4\] does not fit x \[2, 4\]"),
    ):
        with pytest.raises(ValueError, match=match):
            kernels.expert(*wrong, 1)


def test_silu_of_every_normal_word_is_that_of_torch() -> None:
    words = np.arange(1 << 16, dtype=np.uint16)
    exponents = words >> 7 & 0xFF
    words = words[(exponents != 0) & (exponents != 0xFF)]
    one = np.uint16(0x3F80)
    x = np.stack([words, np.full_like(words, one)], axis=1)
    # The gate takes what is in front, up the one behind it; of what comes out, the first number is looked at.
    gate_up, down = np.array([[one, 0], [0, one]], np.uint16), np.array([[one], [0]], np.uint16)
    out = np.empty_like(x)
    kernels.expert(x, gate_up, down, out, 2)
    expected = silu(torch.from_numpy(words).view(torch.bfloat16)).view(torch.uint16).numpy()
    # A result that is subnormal is zero to a processor that multiplies BF16.
    normal = (expected >> 7 & 0xFF) != 0
    assert normal.sum() > 40_000
    assert np.array_equal(out[normal, 0], expected[normal])


def test_what_is_not_a_number_stays_so() -> None:
    words = np.arange(1 << 16, dtype=np.uint16)
    words = words[np.isnan(torch.from_numpy(words).view(torch.bfloat16).float().numpy())]
    x, one = words[:, None], np.array([[0x3F80]], np.uint16)
    assert (expert(x, np.concatenate((one, one)), one) == 0x7FC0).all()
