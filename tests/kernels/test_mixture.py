"""A mixture in one call gives the bits of its parts: each expert by itself, then their sum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.matrices import random_matrix
from tests.kernels.packed import BITS, pack
from zipmoe import kernels
from zipmoe.kernels import Packed

HIDDEN, INNER, EXPERTS = 96, 40, 9


@pytest.fixture(scope="module", params=BITS)
def layer(request: pytest.FixtureRequest) -> list[tuple[Packed, Packed]]:
    def expert(seed: int) -> tuple[Packed, Packed]:
        planes = pack(request.param, random_matrix(seed, 3 * INNER, HIDDEN, HIDDEN**-0.5).reshape(-1))
        return Packed(*planes, 0, 2 * INNER, HIDDEN), Packed(*planes, 2 * INNER * HIDDEN, HIDDEN, INNER)

    return [expert(seed) for seed in range(EXPERTS)]


def choice(tokens: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    chosen = np.array([chance.permutation(EXPERTS)[:k] for _ in range(tokens)], np.int64).reshape(tokens, k)
    return random_matrix(seed, tokens, HIDDEN), chosen, chance.random((tokens, k), np.float32)


@given(st.integers(0, 20), st.integers(1, EXPERTS), st.integers(0, 1 << 30), st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_gives_the_bits_of_its_parts(
    layer: list[tuple[Packed, Packed]], tokens: int, k: int, seed: int, threads: int
) -> None:
    x, chosen, shares = choice(tokens, k, seed)
    parts = []
    for expert in range(EXPERTS):
        rows, places = np.nonzero(chosen == expert)
        out = np.full((len(rows), HIDDEN), 0x7FC0, np.uint16)
        kernels.experts([(x[rows], *layer[expert], out)], 1)
        parts.append((np.ascontiguousarray(rows), shares[rows, places], out))
    expected, ours = np.empty_like(x), np.full_like(x, 0x7FC0)
    kernels.mix(expected, parts)
    kernels.mixture(x, chosen, shares, layer, ours, threads)
    assert (ours == expected).all()


def test_says_what_does_not_fit(layer: list[tuple[Packed, Packed]]) -> None:
    x, chosen, shares = choice(2, 3, 0)
    out = np.empty_like(x)
    with pytest.raises(ValueError, match="expert 9 is not in a layer of 9"):
        kernels.mixture(x, np.full_like(chosen, 9), shares, layer, out, 1)
    with pytest.raises(ValueError, match="expert -1 is not in a layer of 9"):
        kernels.mixture(x, np.full_like(chosen, -1), shares, layer, out, 1)
    with pytest.raises(ValueError, match=r"chosen \[1, 3\] does not fit x \[2, 96\]"):
        kernels.mixture(x, chosen[:1], shares, layer, out, 1)
    with pytest.raises(ValueError, match=r"chosen \[2, 3\] does not fit x \[2, 96\]"):
        kernels.mixture(x, chosen, shares[:, :2].copy(), layer, out, 1)
    with pytest.raises(ValueError, match=r"out \[1, 96\] does not fit x \[2, 96\]"):
        kernels.mixture(x, chosen, shares, layer, out[:1], 1)
    with pytest.raises(ValueError, match=r"gate_up \[80, 96\] does not fit x \[2, 95\]"):
        kernels.mixture(x[:, :-1].copy(), chosen, shares, layer, out, 1)
    with pytest.raises(ValueError, match=r"an expert is \(gate_up, down\), and this has 3"):
        kernels.mixture(x, chosen, shares, [(*expert, 0) for expert in layer], out, 1)  # type: ignore[misc]
