"""Extent: slow contestants end, fast ones are measured well."""

from collections.abc import Callable

import pytest
from benchmarks.peers.extent import (
    CONTEXT,
    CONTEXT_OF_MANY,
    FEWEST_TOKENS,
    PROMPT,
    still_first,
    still_timing,
    still_warming,
)


def steps(more: Callable[[int, int, float], bool], batch: int, seconds: float) -> int:
    """That someone makes whose steps take so long."""
    done = 0
    while more(batch, done, done * seconds):
        done += 1
    return done


@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("seconds", [0.001, 0.3, 4.0, 60.0])
def test_a_sequence_never_outgrows_its_context(batch: int, seconds: float) -> None:
    made = PROMPT + steps(still_warming, batch, seconds) + steps(still_timing, batch, seconds)
    assert made <= (CONTEXT if batch == 1 else CONTEXT_OF_MANY)


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_the_slowest_is_measured_over_a_few_tokens(batch: int) -> None:
    timed = steps(still_timing, batch, 60.0)
    assert timed >= 2
    assert FEWEST_TOKENS <= timed * batch <= max(FEWEST_TOKENS, 2 * batch)


def test_the_fast_are_measured_over_many() -> None:
    assert steps(still_timing, 1, 0.25) >= 64
    assert steps(still_timing, 1, 0.01) == 128


def test_a_first_token_that_takes_long_is_waited_for_once() -> None:
    assert still_first(0, 0.0)
    assert not still_first(1, 30.0)
    assert still_first(2, 0.5)
    assert not still_first(3, 0.5)
