"""Policy: the least worth goes first, and a prefill never flushes what decoding sequences use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipmoe.arena.use import Use
from zipmoe.scheduler.policy import (
    PREFILL_SLOTS,
    WORKING_SET_STEPS,
    Place,
    Visit,
    affinity,
    chance,
    for_prefill,
    lfu,
    lru,
    ranked,
)

NOW, LAYERS = 1000, 4
uses = st.builds(
    Use,
    uses=st.integers(1, 100),
    step=st.integers(NOW - 2 * WORKING_SET_STEPS, NOW),
    recent=st.one_of(st.just(0.0), st.floats(0.001, 3)),
    habit=st.one_of(st.just(0.0), st.floats(0.001, 50)),
    prompt=st.floats(0, 500),
)
tables = st.dictionaries(st.integers(0, 1000), uses, max_size=40)
places = st.builds(Place, st.just(NOW), st.integers(0, LAYERS - 1), st.just(LAYERS))


def working(use: Use) -> bool:
    return use.habit > 0 and NOW - use.step < WORKING_SET_STEPS


@given(tables, places)
def test_all_are_ranked_the_least_worth_first(table: dict[int, Use], place: Place) -> None:
    order = ranked(table, lambda expert: place.next(expert % LAYERS))
    assert sorted(order) == sorted(table)
    worth = [affinity(table[expert], place.next(expert % LAYERS)) for expert in order]
    assert worth == sorted(worth)


@given(tables, places, st.integers(0, 20))
def test_a_prefill_takes_all_outside_the_working_set_before_any_in_it(
    table: dict[int, Use], place: Place, free: int
) -> None:
    coldest_first = ranked(table, lambda expert: place.next(expert % LAYERS))
    taken = for_prefill(coldest_first, table, NOW, free)
    outside = [expert for expert in coldest_first if not working(table[expert])]
    inside = [expert for expert in coldest_first if working(table[expert])]
    assert taken[: len(outside)] == outside
    assert taken[len(outside) :] == inside[: max(0, PREFILL_SLOTS - len(outside) - free)]


@pytest.mark.parametrize(
    ("layer", "visit"),
    [(0, Visit(NOW + 1, 0.5)), (1, Visit(NOW + 1, 0.75)), (2, Visit(NOW + 1, 1.0)), (3, Visit(NOW, 0.25))],
)
def test_a_layer_is_next_visited_in_this_step_if_it_comes_after_the_present_one(layer: int, visit: Visit) -> None:
    assert Place(NOW, 2, LAYERS).next(layer) == visit


@given(uses, places)
def test_what_was_just_used_is_worth_no_more_than_what_is_about_to_be(use: Use, place: Place) -> None:
    """The same history, one visit of its layer ago: the slot of one has to be kept for a step, of the other hardly."""
    behind, before = place.next(place.layer), place.next((place.layer + 1) % LAYERS)
    one = affinity(use._replace(step=behind.step - 1), behind)
    other = affinity(use._replace(step=before.step - 1), before)
    assert one <= other
    assert other == pytest.approx(LAYERS * one)


def test_a_use_of_late_counts_and_so_does_a_habit() -> None:
    assert chance(1.0, 1.0) > chance(0.0, 1.0) > chance(0.0, 0.5) > 0
    assert chance(0.0, 100.0) > chance(1.0, 1.0)


def test_least_recently_used_is_to_the_layer() -> None:
    """In the present step and in layers already computed: 0.25 steps ago and 0.5; then in the step before."""
    place = Place(NOW, 2, LAYERS)
    ago = [
        -lru(Use(step=NOW), place.next(1)),
        -lru(Use(step=NOW), place.next(0)),
        -lru(Use(step=NOW - 1), place.next(3)),
        -lru(Use(step=NOW - 1), place.next(2)),
        -lru(Use(step=NOW - 1), place.next(0)),
    ]
    assert ago == [0.25, 0.5, 0.75, 1.0, 1.5]


def test_least_frequently_used_counts_all_uses() -> None:
    assert lfu(Use(uses=3, step=1), Visit(NOW, 1.0)) > lfu(Use(uses=2, step=NOW), Visit(NOW, 1.0))


def test_among_equals_what_the_last_prompt_wanted_less_goes_first() -> None:
    table = {1: Use(prompt=3.0), 2: Use(prompt=1.0), 3: Use(prompt=2.0)}
    assert ranked(table, lambda _: Visit(NOW, 1.0)) == [2, 3, 1]


def test_the_working_set_is_what_was_decoded_with_lately() -> None:
    old, new = Use(step=NOW - WORKING_SET_STEPS, habit=1.0), Use(step=NOW - WORKING_SET_STEPS + 1, habit=1.0)
    prompt = Use(step=NOW, habit=0.0, prompt=9.0)
    assert for_prefill([1, 2, 3], {1: old, 2: new, 3: prompt}, NOW, PREFILL_SLOTS) == [1, 3]
