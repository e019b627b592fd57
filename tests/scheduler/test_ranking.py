"""Ranking: each layer once a step, never who was used meanwhile, and always somebody as long as there is one."""

from collections.abc import Iterable
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.arena.shapes import header
from zipmoe.arena.use_counter import UseCounter
from zipmoe.scheduler.policy import POLICIES, PREFILL_SLOTS, Phase, Place, Worth, ranked
from zipmoe.scheduler.ranking import Ranking

LAYERS, EXPERTS = 2, 4
HEADER = header(8, LAYERS, EXPERTS)
ALL = frozenset(range(LAYERS * EXPERTS))


class Counted(UseCounter):
    """Notes which records were read."""

    def __init__(self) -> None:
        super().__init__(memoryview(bytearray(HEADER.size)), HEADER)
        self.seen: list[int] = []

    def read(self, expert: int):  # type: ignore[no-untyped-def]
        self.seen.append(expert)
        return super().read(expert)


@pytest.fixture
def use() -> Counted:
    """In each step a layer after the other: expert 0 was used in the first, 1 in the first two, and so on."""
    table = Counted()
    for step in range(EXPERTS):
        table.advance()
        for layer in range(LAYERS):
            table.decoded(range(layer * EXPERTS + step, (layer + 1) * EXPERTS))
    table.advance()
    return table


def coldest(
    of: Ranking, residents: Iterable[int], count: int, layer: int = 0, phase: Phase = Phase.DECODE, kept: int = -1
) -> list[int]:
    return list(islice(of.victims(set(residents), {kept}, phase, layer, 0), count))


def test_it_names_the_least_worth_of_all_layers(use: Counted) -> None:
    """Layer 0 is being computed, so its experts would have to be kept for a whole step, those of layer 1 for half."""
    assert coldest(Ranking(use, LAYERS, EXPERTS), ALL, 4) == [0, 1, 4, 2]


def test_it_goes_on_where_it_was_left(use: Counted) -> None:
    made = Ranking(use, LAYERS, EXPERTS)
    assert coldest(made, ALL, 2) == [0, 1]
    use.seen.clear()
    assert coldest(made, ALL - {0, 1}, 2) == [4, 2]
    assert not {6, 7} & set(use.seen), "of the layer that is not being computed nothing was ranked again"


def test_a_layer_is_ranked_again_when_it_has_been_computed(use: Counted) -> None:
    made = Ranking(use, LAYERS, EXPERTS)
    coldest(made, ALL, 1)
    use.seen.clear()
    coldest(made, ALL - {0}, 1, layer=1)
    assert set(use.seen) >= set(range(EXPERTS, 2 * EXPERTS))
    use.seen.clear()
    use.advance()
    coldest(made, ALL - {0, 1, 4}, 1, layer=0)
    assert set(use.seen) >= {2, 3}


def test_who_was_used_since_is_passed_over(use: Counted) -> None:
    made = Ranking(use, LAYERS, EXPERTS)
    assert coldest(made, ALL, 1) == [0]
    use.decoded([4])
    assert coldest(made, {2, 4, 5}, 2) == [2, 5]
    assert coldest(made, {4}, 1) == [4]


def test_who_was_used_in_the_layer_that_is_computed_may_go_for_the_next_of_it(use: Counted) -> None:
    made = Ranking(use, LAYERS, EXPERTS)
    assert coldest(made, ALL, 1) == [0]
    use.decoded([1])
    assert coldest(made, {1, 7}, 1) == [1]


def test_who_is_kept_or_gone_is_not_named_and_may_go_later(use: Counted) -> None:
    made = Ranking(use, LAYERS, EXPERTS)
    assert coldest(made, ALL, 1) == [0]
    assert coldest(made, {1, 2, 3}, 2, kept=1) == [2, 3]
    assert coldest(made, {1}, 1) == [1]


def test_who_became_resident_since_is_found_when_there_is_nobody_else(use: Counted) -> None:
    made = Ranking(use, LAYERS, EXPERTS)
    assert coldest(made, {2, 3}, 2) == [2, 3]
    assert coldest(made, {0}, 1) == [0]


def test_a_prefill_is_ranked_each_time(use: Counted) -> None:
    made = Ranking(use, LAYERS, EXPERTS)
    assert coldest(made, ALL, 1) == [0]
    assert list(made.victims(ALL, (), Phase.PREFILL, 0, PREFILL_SLOTS)) == []
    assert coldest(made, {4, 5}, 1, phase=Phase.PREFILL) == coldest(made, {4, 5}, 1, phase=Phase.PREFILL)


@pytest.mark.parametrize("by", POLICIES.values(), ids=POLICIES)
@settings(max_examples=60)
@given(
    steps=st.lists(st.tuples(st.sets(st.sampled_from(sorted(ALL))), st.integers(0, LAYERS - 1)), max_size=8),
    data=st.data(),
)
def test_it_ranks_as_the_policy_does(by: Worth, steps: list[tuple[set[int], int]], data: st.DataObject) -> None:
    table = UseCounter(memoryview(bytearray(HEADER.size)), HEADER)
    for used, _ in steps:
        table.advance()
        table.decoded(sorted(used))
    made = Ranking(table, LAYERS, EXPERTS, by)
    layer = data.draw(st.integers(0, LAYERS - 1))
    place = Place(table.step(), layer, LAYERS)
    uses = {expert: table.read(expert) for expert in ALL}
    wanted = ranked(uses, lambda expert: place.next(expert // EXPERTS), by)

    def worth(expert: int) -> float:
        return by(uses[expert], place.next(expert // EXPERTS))

    found = coldest(made, ALL, len(ALL), layer)
    assert [worth(expert) for expert in found] == [worth(expert) for expert in wanted]
