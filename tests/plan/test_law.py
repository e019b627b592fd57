"""Law: weights give back the marginals they were made for, and hits are what counting all sets says."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipmoe.plan.law import conditional_poisson, hits

# Weights by rank, k, and the sizes of the pools.
Layer = tuple[list[float], int, list[int]]


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    weights = draw(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8))
    k = draw(st.integers(1, len(weights)))
    weights += draw(st.lists(st.just(0.0), max_size=2))
    pools, room = list[int](), len(weights)
    for _ in range(draw(st.integers(0, 4))):
        pools.append(draw(st.integers(0, room)))
        room -= pools[-1]
    return sorted(weights, reverse=True), k, pools


def intervals(pools: Sequence[int]) -> list[range]:
    ends = [sum(pools[: pool + 1]) for pool in range(len(pools))]
    return [range(end - pool, end) for end, pool in zip(ends, pools, strict=True)]


def sets(weights: Sequence[float], k: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every set of k experts and its probability."""
    every = list(combinations(range(len(weights)), k))
    products = [math.prod(weights[expert] for expert in chosen) for chosen in every]
    total = math.fsum(products)
    return ((chosen, product / total) for chosen, product in zip(every, products, strict=True))


def counted(weights: Sequence[float], k: int) -> list[float]:
    """How often each expert is wanted, by counting all sets."""
    wanted = [0.0] * len(weights)
    for chosen, probability in sets(weights, k):
        for expert in chosen:
            wanted[expert] += probability
    return wanted


def pooled(weights: Sequence[float], k: int) -> list[float]:
    """How often each expert is wanted, by giving it a pool of its own: for layers with too many sets to count."""
    return [mean_hits(weights, k, [expert, 1])[1] for expert in range(len(weights))]


def mean_hits(weights: Sequence[float], k: int, pools: Sequence[int]) -> list[float]:
    found = hits(weights, k, pools)
    return [math.fsum(counts[pool] * chance for counts, chance in found.items()) for pool in range(len(pools))]


def levelled(marginals: Sequence[float], k: int) -> list[float]:
    """The marginals scaled alike to sum k, but none beyond certainty; what k then still lacks goes to those of zero."""
    seen = sum(marginal > 0 for marginal in marginals)
    if seen <= k:
        return [1.0 if marginal else (k - seen) / (len(marginals) - seen) for marginal in marginals]
    low, high = 0.0, 1e12
    for _ in range(200):
        scale = (low + high) / 2
        low, high = (scale, high) if sum(min(1.0, scale * marginal) for marginal in marginals) < k else (low, scale)
    return [min(1.0, high * marginal) for marginal in marginals]


@given(layers())
def test_hits_are_what_counting_all_sets_gives(layer: Layer) -> None:
    weights, k, pools = layer
    expected = dict[tuple[int, ...], float]()
    for chosen, probability in sets(weights, k):
        counts = tuple(sum(expert in interval for expert in chosen) for interval in intervals(pools))
        expected[counts] = expected.get(counts, 0.0) + probability
    found = hits(weights, k, pools)
    assert found.keys() == {counts for counts, probability in expected.items() if probability > 0}
    assert found == pytest.approx({counts: expected[counts] for counts in found}, rel=1e-9)


@given(layers(), st.floats(1e-30, 1e30))
def test_a_factor_common_to_all_weights_changes_nothing(layer: Layer, factor: float) -> None:
    weights, k, pools = layer
    scaled = hits([factor * weight for weight in weights], k, pools)
    assert scaled == pytest.approx(hits(weights, k, pools), rel=1e-9)


@given(layers())
def test_hits_are_certain_to_be_some_and_as_many_as_their_experts_are_wanted(layer: Layer) -> None:
    weights, k, pools = layer
    assert math.fsum(hits(weights, k, pools).values()) == pytest.approx(1)
    wanted = counted(weights, k)
    expected = [sum(wanted[expert] for expert in interval) for interval in intervals(pools)]
    assert mean_hits(weights, k, pools) == pytest.approx(expected)


@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 1e3)), min_size=2, max_size=8), st.data())
def test_weights_give_the_marginals_back(marginals: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(marginals)))
    wanted = counted(conditional_poisson(marginals, k), k)
    assert wanted == pytest.approx(levelled(marginals, k), abs=1e-6)


@pytest.mark.parametrize(
    ("marginals", "k"),
    [
        pytest.param([rank**-0.5 for rank in range(1, 65)], 8, id="64 experts, all much in use"),
        pytest.param([rank**-1.5 for rank in range(1, 65)], 8, id="64 experts, some always in use"),
        pytest.param([math.exp(-rank / 30) for rank in range(128)], 16, id="128 experts"),
        pytest.param([1.0] * 8 + [0.0] * 56, 8, id="always the same"),
    ],
)
def test_they_do_in_layers_of_real_size(marginals: list[float], k: int) -> None:
    assert pooled(conditional_poisson(marginals, k), k) == pytest.approx(levelled(marginals, k), abs=1e-6)


@pytest.mark.parametrize("steepness", [0, 0.01, 0.1, 0.3])
def test_many_experts_neither_overflow_nor_vanish(steepness: float) -> None:
    marginals = [math.exp(-steepness * rank) for rank in range(256)]
    weights = conditional_poisson(marginals, 64)
    assert all(0 < weight < math.inf for weight in weights)
    wanted = levelled(marginals, 64)
    pools = [32, 64, 96]
    expected = [sum(wanted[expert] for expert in interval) for interval in intervals(pools)]
    assert mean_hits(weights, 64, pools) == pytest.approx(expected, abs=1e-5)


def test_of_two_experts_with_one_wanted_the_odds_are_the_weights() -> None:
    popular, other = conditional_poisson([0.9, 0.1], 1)
    assert popular / other == pytest.approx(9)


def test_all_are_certain_where_all_are_wanted() -> None:
    assert hits(conditional_poisson([0.5, 0.2, 0.0], 3), 3, [1, 1]) == {(1, 1): 1.0}


def test_a_profile_of_nothing_prefers_nobody() -> None:
    assert counted(conditional_poisson([0.0] * 5, 2), 2) == pytest.approx([0.4] * 5)


def test_an_expert_never_seen_may_be_wanted_yet() -> None:
    assert 0 < pooled(conditional_poisson([5, 3, 2, 0], 2), 2)[3] < 1e-8


def test_without_pools_all_are_missed() -> None:
    assert hits([3.0, 2.0, 1.0], 2, []) == {(): 1.0}
    assert hits([3.0, 2.0, 1.0], 2, [0, 0]) == {(0, 0): 1.0}
