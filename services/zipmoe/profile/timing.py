"""Timing: the one way in which everything here is repeated."""

import statistics
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Final

FEWEST: Final = 3


def median_of(measure: Callable[[], float], seconds: float) -> float:
    """The median of what `measure` returns, called once to warm up and then for so many seconds, at least thrice."""
    return statistics.median(_repeated(measure, seconds))


def mean_of(measure: Callable[[], float], seconds: float) -> float:
    """The mean of the same: for what is done so often that what now and then comes in between counts."""
    return statistics.mean(_repeated(measure, seconds))


def _repeated(measure: Callable[[], float], seconds: float) -> list[float]:
    measure()
    results, ends = list[float](), perf_counter() + seconds
    while len(results) < FEWEST or perf_counter() < ends:
        results.append(measure())
    return results


def curve(points: Iterable[int], measure: Callable[[int], float]) -> dict[int, float]:
    """`measure` at every point, and once more at every point, so that no moment decides: the mean of the two. The
    better one would be what the device does at its best, and a plan is for what it does all day."""
    first = {point: measure(point) for point in points}
    return {point: (value + measure(point)) / 2 for point, value in first.items()}


def seconds_of(act: Callable[[], object]) -> float:
    started = perf_counter()
    act()
    return perf_counter() - started


def crowds(most: int) -> list[int]:
    """How many at once to measure: 1, 2, 4 and so on, and `most`."""
    return [*(1 << power for power in range((most - 1).bit_length())), most]
