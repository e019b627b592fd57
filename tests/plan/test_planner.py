"""Planner: it predicts the hits that a replay finds, and chooses the best of the divisions that it tries."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.shapes import MODEL, device
from zipmoe.arena.layout import Header
from zipmoe.arena.use_counter import UseCounter
from zipmoe.plan import popularity as module
from zipmoe.plan.lookahead import lookahead
from zipmoe.plan.planner import candidates, plan
from zipmoe.plan.popularity import popularity
from zipmoe.plan.prediction import Pools, Predictor
from zipmoe.routing.routing import Routing
from zipmoe.scheduler.policy import affinity, chance
from zipmoe.simulate.replay import replay
from zipmoe.simulate.shape import ANY, Shape
from zipmoe.simulate.synthetic import synthetic

LIKE = Shape(MODEL.experts, MODEL.k, MODEL.weights, ANY)
ROUTING = synthetic(LIKE, MODEL.layers, 6, 100, seed=5)
PAIR = MODEL.sign_mantissas + MODEL.exponents


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(MODEL, device(), popularity(ROUTING))


def test_a_rank_is_what_the_policy_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranks' uses, counted with the scheduler's own table and policy."""
    monkeypatch.setattr(module, "TRUSTED_STEPS", 0)
    routing = Routing(LIKE.experts, ROUTING.chosen[:60])
    header = Header(routing.layers, routing.experts, 0, 0, 0, size=0, epoch=0, fingerprint="")
    table = UseCounter(memoryview(bytearray(header.use_bytes)), header, start=header.use_offset)
    counts = np.zeros((routing.layers, routing.experts))
    for step, layers in enumerate(routing.numbered().tolist()):
        table.advance()
        for layer, wanted in enumerate(layers):
            numbers = range(layer * routing.experts, (layer + 1) * routing.experts)
            ranked = sorted(numbers, key=lambda expert: -chance(*table.read(expert).aged(table.step())))
            if step >= 15:
                counts[layer] += [expert in wanted for expert in ranked]
        for wanted in layers:
            table.decoded(wanted)
    assert popularity(routing).marginals == pytest.approx(counts / 45)


def test_tokens_of_an_expert_are_counted() -> None:
    tokens = ROUTING.side_by_side(3)
    counted = [np.bincount(layer.ravel()).tolist() for step in tokens for layer in step.swapaxes(0, 1)]
    rows = [count for layer in counted for count in layer if count]
    found = dict(popularity(ROUTING, 3).rows)
    assert found == pytest.approx({count: rows.count(count) / len(rows) for count in (1, 2, 3)})


def test_what_few_steps_say_of_a_layer_counts_little() -> None:
    few, many = popularity(Routing(LIKE.experts, ROUTING.chosen[:60])).marginals, popularity(ROUTING).marginals
    assert few.std(0).mean() < many.std(0).mean()
    assert few.mean(0) == pytest.approx(many.mean(0), abs=0.15)


@pytest.mark.parametrize("batch", [1, 3])
def test_ranks_are_wanted_as_often_as_experts_are(batch: int) -> None:
    found = popularity(ROUTING, batch)
    assert found.marginals.shape == (MODEL.layers, MODEL.experts)
    assert np.all(found.marginals >= 0)
    assert np.all(found.marginals <= 1)
    if batch == 1:
        assert found.wanted == pytest.approx([MODEL.k] * MODEL.layers)
    else:
        assert np.all(found.wanted > MODEL.k)


@pytest.mark.parametrize("share", [0.25, 0.4, 0.6, 0.8])
def test_hits_are_as_a_replay_finds_them(predictor: Predictor, share: float) -> None:
    slots = int(share * MODEL.total)
    predicted = predictor.predict(Pools(0, slots, slots))
    assert predicted.hit_rate == pytest.approx(replay(ROUTING, slots, affinity).hit_rate, abs=0.05)
    missed = (1 - predicted.hit_rate) * MODEL.layers * MODEL.k
    assert predicted.bytes == pytest.approx(missed * MODEL.read, rel=1e-6)


def test_more_slots_are_never_slower(predictor: Predictor) -> None:
    times = [predictor.predict(Pools(0, slots, slots)).seconds for slots in range(2, MODEL.total + 1, 3)]
    assert times == sorted(times, reverse=True)
    everything = predictor.predict(Pools(0, MODEL.total, MODEL.total))
    assert everything.hit_rate == pytest.approx(1)
    assert everything.bytes == 0
    assert everything.seconds == pytest.approx(MODEL.layers * MODEL.k * 1e-3)


@given(st.integers(2, 2 * MODEL.total))
@settings(max_examples=60)
def test_divisions_fit_and_are_usable(experts: int) -> None:
    memory = experts * PAIR + 12345
    found = list(candidates(MODEL, memory))
    assert found
    assert len(set(found)) == len(found)
    for pools in found:
        assert pools.bytes(MODEL) <= memory
        assert sum(pools.states) <= MODEL.total
        assert pools.words >= 2 or min(pools.sign_mantissas, pools.exponents) >= 2
    assert found[0] == Pools(0, min(experts, MODEL.total), min(experts, MODEL.total))


def test_where_nothing_is_packed_all_slots_are_for_words() -> None:
    plain = replace(MODEL, form="bf16", exponents=0)
    assert list(candidates(plain, 10 * MODEL.words)) == [Pools(10, 0, 0)]


def test_a_few_layers_stand_for_all_that_are_alike(predictor: Predictor) -> None:
    """Routing that is made up has fewer layers than the model."""
    deeper = replace(MODEL, layers=4 * MODEL.layers)
    few = predictor.predict(Pools(3, 20, 25))
    many = Predictor(deeper, device(), popularity(ROUTING)).predict(Pools(12, 80, 100))
    assert many.hit_rate == few.hit_rate
    assert (many.seconds, many.bytes) == pytest.approx((4 * few.seconds, 4 * few.bytes))


def test_the_plan_is_no_slower_than_any_division_that_was_tried(predictor: Predictor) -> None:
    for experts in (8, 20, 40, 64, 90):
        chosen = plan(predictor, experts * PAIR)
        times = [predictor.predict(pools).seconds for pools in candidates(MODEL, experts * PAIR)]
        assert chosen.seconds <= min(times) / 0.98


def test_words_are_kept_where_they_are_faster() -> None:
    """With room for all of them packed, what is left is for words of the most wanted; and of more, if that is worth
    reading some again."""
    memory = MODEL.total * PAIR + 20 * (MODEL.words - PAIR)
    for packed, most in ((1.1e-3, 20), (4e-3, MODEL.total)):
        faster = device(multiply={"pack3": {1: packed}, "bf16": {1: 1e-3}})
        assert 20 <= plan(Predictor(MODEL, faster, popularity(ROUTING)), memory).pools.words <= most
    assert plan(Predictor(MODEL, device(), popularity(ROUTING)), memory).pools.words == 0


def test_a_plane_is_kept_alone_where_the_other_costs_next_to_nothing() -> None:
    """Exponents that are stored in a twentieth of what they take in memory are better read than kept."""
    model = replace(MODEL, stored=MODEL.exponents // 20)
    chosen = plan(Predictor(model, device(), popularity(ROUTING)), 20 * PAIR)
    assert chosen.pools.sign_mantissas > chosen.pools.exponents


@pytest.mark.parametrize(
    ("slots", "disk", "layers"), [(MODEL.total, 1e9, 0), (20, 1e9, 2), (20, 1e11, 0), (60, 1e9, 0)]
)
def test_forecasts_are_made_where_layers_wait_for_the_disk(slots: int, disk: float, layers: int) -> None:
    """Nothing to read; much; reads in no time; little to read."""
    of = device(disk={1: disk, 2: disk}, acquire=1e-3)
    found = Predictor(MODEL, of, popularity(ROUTING)).predict(Pools(0, slots, slots))
    assert lookahead(found, MODEL, of) == layers
