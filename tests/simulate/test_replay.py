"""Replays count what a cache would do, and the policy that serves is better than those beside it."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipmoe.routing.routing import Routing
from zipmoe.scheduler.policy import POLICIES
from zipmoe.simulate.contest import BELADY, RAW, contest
from zipmoe.simulate.replay import replay, replay_belady
from zipmoe.simulate.shape import shape
from zipmoe.simulate.synthetic import synthetic

EXPERTS = 6


@st.composite
def routings(draw: st.DrawFn) -> Routing:
    layers, k = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    token = st.lists(st.permutations(range(EXPERTS)).map(lambda order: order[:k]), min_size=layers, max_size=layers)
    return Routing(EXPERTS, np.array(draw(st.lists(token, min_size=1, max_size=30)), np.int64))


@given(routings(), st.integers(0, 18))
def test_no_policy_beats_belady_and_all_that_fits_is_missed_once(routing: Routing, more: int) -> None:
    total, slots = routing.layers * EXPERTS, routing.k + more
    best = replay_belady(routing, slots, warm=0)
    for worth in POLICIES.values():
        found = replay(routing, slots, worth, warm=0)
        assert found.missing >= best.missing
        assert 0 <= found.hit_rate <= 1
        if slots >= total:
            assert found == best


@given(st.lists(st.integers(0, EXPERTS - 1), min_size=3, max_size=60), st.integers(1, EXPERTS), st.integers(1, 3))
def test_lru_is_lru(chosen: list[int], slots: int, layers: int) -> None:
    """To the layer: experts are used one after the other in the layers' order."""
    chosen = chosen[: len(chosen) // layers * layers]
    uses = [expert + EXPERTS * (at % layers) for at, expert in enumerate(chosen)]
    cache, missed = OrderedDict[int, None](), 0
    for expert in uses:
        missed += expert not in cache
        cache[expert] = None
        cache.move_to_end(expert)
        if len(cache) > slots:
            cache.popitem(last=False)
    found = replay(Routing(EXPERTS, np.array(chosen).reshape(-1, layers, 1)), slots, POLICIES["lru"], warm=0)
    assert found.missing * len(uses) / layers == pytest.approx(missed)


@pytest.mark.parametrize(("budget", "most"), [(0.25, 0.70), (0.40, 0.60), (0.60, 0.40), (0.80, 0.05)])
def test_on_published_statistics_it_reads_less_than_lru(budget: float, most: float) -> None:
    like = shape("olmoe-1b-7b")
    routing = synthetic(like, layers=3, requests=4, tokens=100, seed=2)
    results = {result.policy: result for result in contest(routing, like.weights, budget, bits=11.2)}
    assert results["affinity"].raw <= most
    assert results["affinity"].bytes <= results["lru"].bytes
    assert results[BELADY].bytes <= results["affinity"].bytes
    assert results[RAW].raw == 1
