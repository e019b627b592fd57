"""Tally: each sequence's own uses and misses; what several missed is read once and shared."""

import numpy as np

from zipmoe.inference.tally import Counters, Tally


def test_each_counts_its_own_experts_once_a_layer() -> None:
    tally = Tally([1, 3])
    tally.add(np.array([[0, 1], [1, 2], [2, 1], [3, 2]]), {})
    tally.add(np.array([[4, 5], [4, 5], [4, 5], [4, 5]]), {})
    assert tally.counters(calls=0) == [Counters(4, 0, 0, 0), Counters(5, 0, 0, 0)]


def test_what_was_read_is_shared_by_those_who_missed_it() -> None:
    tally = Tally([1, 1, 1])
    tally.add(np.array([[0, 1], [1, 2], [3, 4]]), {1: 100, 2: 30, 0: 0})
    assert tally.counters(calls=2) == [Counters(2, 2, 50, 2), Counters(2, 2, 80, 2), Counters(2, 0, 0, 2)]


def test_counters_add_up() -> None:
    assert Counters(1, 2, 3, 4) + Counters(10, 20, 30, 40) == Counters(11, 22, 33, 44)
