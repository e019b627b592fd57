"""Policy: the coldest goes first, and a prefill never flushes what decoding sequences use."""

from hypothesis import given
from hypothesis import strategies as st

from zipmoe.arena.use import Use
from zipmoe.scheduler.policy import PREFILL_SLOTS, WORKING_SET_STEPS, Phase, affinity, lru, victims

NOW = 1000
uses = st.builds(
    Use,
    count=st.integers(1, 100),
    step=st.integers(NOW - 2 * WORKING_SET_STEPS, NOW),
    recent=st.one_of(st.just(0.0), st.floats(0.001, 3)),
    habit=st.one_of(st.just(0.0), st.floats(0.001, 50)),
    prompt=st.floats(0, 500),
)
tables = st.dictionaries(st.integers(0, 1000), uses, max_size=40)


def working(use: Use) -> bool:
    return use.habit > 0 and NOW - use.step < WORKING_SET_STEPS


@given(tables, st.integers(0, 20))
def test_decoding_ranks_all_coldest_first(table: dict[int, Use], free: int) -> None:
    ranked = victims(table, NOW, Phase.DECODE, free)
    assert sorted(ranked) == sorted(table)
    worth = [affinity(table[expert], NOW) for expert in ranked]
    assert worth == sorted(worth)


@given(tables, st.integers(0, 20))
def test_a_prefill_names_all_outside_the_working_set_before_any_in_it(table: dict[int, Use], free: int) -> None:
    ranked = victims(table, NOW, Phase.PREFILL, free)
    outside = [expert for expert in table if not working(table[expert])]
    assert set(ranked[: len(outside)]) == set(outside)
    assert all(working(table[expert]) for expert in ranked[len(outside) :])
    for part in ranked[: len(outside)], ranked[len(outside) :]:
        worth = [affinity(table[expert], NOW) for expert in part]
        assert worth == sorted(worth)


@given(tables, st.integers(0, 20))
def test_a_prefill_takes_of_the_working_set_only_what_keeps_its_loads_moving(table: dict[int, Use], free: int) -> None:
    ranked = victims(table, NOW, Phase.PREFILL, free)
    inside = [expert for expert in ranked if working(table[expert])]
    outside = len(ranked) - len(inside)
    if free + outside >= PREFILL_SLOTS:
        assert not inside
    else:
        assert len(inside) == min(PREFILL_SLOTS - free - outside, sum(map(working, table.values())))


def test_of_the_equally_cold_the_one_the_prompt_used_least_goes_first() -> None:
    table = {1: Use(1, prompt=3.0), 2: Use(1, prompt=1.0), 3: Use(1, prompt=2.0)}
    assert victims(table, NOW, Phase.PREFILL, 0) == [2, 3, 1]


def test_a_habit_outlasts_one_use_a_while_ago() -> None:
    table = {1: Use(90, NOW - 12, 3.0, 40.0), 2: Use(1, NOW - 6, 1.0, 1.0)}
    assert victims(table, NOW, Phase.DECODE, 0) == [2, 1]
    assert victims(table, NOW, Phase.DECODE, 0, lru) == [1, 2]


def test_an_expert_leaves_the_working_set_with_time() -> None:
    table = dict.fromkeys(range(PREFILL_SLOTS), Use(1, NOW, 1.0, 1.0))
    assert victims(table, NOW + WORKING_SET_STEPS - 1, Phase.PREFILL, PREFILL_SLOTS) == []
    assert len(victims(table, NOW + WORKING_SET_STEPS, Phase.PREFILL, PREFILL_SLOTS)) == PREFILL_SLOTS
