"""Ranking: one a decode step, never of what was used meanwhile, and always somebody as long as there is one."""

from collections.abc import Mapping
from itertools import islice

import pytest

from tests.arena.shapes import header
from zipmoe.arena.use import Use, UseTable
from zipmoe.scheduler import ranking
from zipmoe.scheduler.policy import PREFILL_SLOTS, Phase, victims
from zipmoe.scheduler.ranking import Ranking

HEADER = header(8)


@pytest.fixture
def use() -> UseTable:
    """Expert 0 was used in step 1, expert 1 in steps 1 and 2, and so on."""
    table = UseTable(memoryview(bytearray(HEADER.size)), HEADER)
    for step in range(6):
        table.advance()
        table.decoded(range(step, 6))
    table.advance()
    return table


def coldest(of: Ranking, residents: set[int], count: int, phase: Phase = Phase.DECODE, kept: int = -1) -> list[int]:
    return list(islice(of.victims(residents, {kept}, phase, 0), count))


def test_it_goes_on_where_it_was_left(use: UseTable, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = list[int]()

    def counted(uses: Mapping[int, Use], now: int, phase: Phase, free: int) -> list[int]:
        ranked.append(len(uses))
        return victims(uses, now, phase, free)

    monkeypatch.setattr(ranking, "victims", counted)
    made = Ranking(use)
    assert coldest(made, set(range(6)), 2) == [0, 1]
    assert coldest(made, {2, 3, 4, 5}, 2) == [2, 3]
    assert ranked == [6]
    use.advance()
    assert coldest(made, {4, 5}, 2) == [4, 5]
    assert ranked == [6, 2]


def test_who_was_used_since_is_passed_over(use: UseTable) -> None:
    made = Ranking(use)
    assert coldest(made, set(range(6)), 1) == [0]
    use.decoded([1])
    assert coldest(made, {1, 2, 3}, 2) == [2, 3]
    assert coldest(made, {1}, 1) == [1]


def test_who_is_kept_or_gone_is_not_named(use: UseTable) -> None:
    made = Ranking(use)
    assert coldest(made, set(range(6)), 1) == [0]
    assert coldest(made, {1, 2, 3, 4}, 2, kept=1) == [2, 3]


def test_who_became_resident_in_this_step_is_found_when_there_is_nobody_else(use: UseTable) -> None:
    made = Ranking(use)
    assert coldest(made, {4, 5}, 2) == [4, 5]
    assert coldest(made, {0}, 1) == [0]


def test_a_prefill_is_ranked_each_time(use: UseTable) -> None:
    made = Ranking(use)
    assert coldest(made, set(range(6)), 1) == [0]
    assert list(made.victims(set(range(6)), (), Phase.PREFILL, PREFILL_SLOTS)) == []
    assert coldest(made, {4, 5}, 1, Phase.PREFILL) == coldest(made, {4, 5}, 1, Phase.PREFILL)
