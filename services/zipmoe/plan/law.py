"""Law: which experts of a layer are wanted together, known only how often each of them is.

Of all laws over sets of k experts that want each as often as given, ours assumes nothing more (maximum entropy). It is
conditional Poisson sampling: every expert has a weight, and the chance of a set is proportional to the product of its
members' weights. Independent draws, an expert with chance w / (1 + w), want the same sets whenever they want just k. So
we reckon with those: their tables are the weights' elementary symmetric polynomials, but made of numbers between 0 and
1, which hundreds of experts do not overflow. A factor common to all weights changes nothing.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import mul
from typing import Final

# A profile is finite: an expert that it never saw may be wanted yet, one that it always saw may be left out once.
RARE: Final = 1e-9

_NOTHING: Final = 1e-30  # of all marginals together
_CLOSE: Final = 1e-7  # relative, of the odds that an expert is wanted
_ROUNDS: Final = 200  # 5 to 30 do

# That an expert is drawn, and that it is not: both, because 1 - x forgets what a small x was.
_Draw = tuple[float, float]


def conditional_poisson(marginals: Sequence[float], k: int) -> list[float]:
    """The weights with which each expert is wanted as often as its marginal says, always k of them.

    Marginals may be counts: they are scaled to sum k, and what one has beyond certainty goes to the others. The method
    is the fixed point of Chen, Dempster and Liu (1994), but in the odds of being wanted: in probabilities, as theirs
    is, a nearly certain expert hardly moves (256 experts, 64 wanted: 1000 rounds where 6 do).
    """
    assert 0 < k <= len(marginals), f"{k} of {len(marginals)} experts"
    assert all(0 <= marginal < math.inf for marginal in marginals), "marginals are finite and not negative"
    if k == len(marginals):
        return [1.0] * k
    wanted = _scaled(marginals, k)
    odds = [chance / (1 - chance) for chance in wanted]
    # Experts displace each other. Among many, one hardly feels that, and full steps would arrive; of two with one
    # wanted, a full step misses on the far side by as much, and half a step arrives.
    spread = sum(chance * (1 - chance) for chance in wanted)
    step = max(0.5, spread / (1 + spread))
    weights = odds
    for _ in range(_ROUNDS):
        ratios = [aim / now for aim, now in zip(odds, _odds(weights, k), strict=True)]
        if max(ratios) < (1 + _CLOSE) * min(ratios):
            break
        weights = [weight * ratio**step for weight, ratio in zip(weights, ratios, strict=True)]
    return weights


def hits(weights: Sequence[float], k: int, pools: Sequence[int]) -> dict[tuple[int, ...], float]:
    """How many of the k wanted experts lie in each pool: every tuple of counts that may occur, and its probability.

    `weights` are by rank, the most wanted expert first. The pools take that many consecutive ranks each; the experts
    they leave are absent, and k minus the sum of a tuple are missed.
    """
    assert sum(weight > 0 for weight in weights) >= k > 0, f"{k} of {len(weights)} experts"
    assert all(pool >= 0 for pool in pools), f"{pools} slots"
    assert sum(pools) <= len(weights), f"{pools} slots for {len(weights)} experts"
    draws, first = _draws(weights, k), 0
    joint: dict[tuple[int, ...], float] = {(): 1.0}
    for pool in pools:
        law = _tables(draws[first : first + pool], k)[-1]
        joint = {
            (*counts, count): chance * law[count]
            for counts, chance in joint.items()
            for count in range(min(pool, k - sum(counts)) + 1)
        }
        first += pool
    absent = _tables(draws[first:], k)[-1]
    joint = {counts: chance * absent[k - sum(counts)] for counts, chance in joint.items()}
    total = sum(joint.values())  # the chance that the draws want just k
    return {counts: chance / total for counts, chance in joint.items() if chance > 0}


def _scaled(marginals: Sequence[float], k: int) -> list[float]:
    """The marginals with sum k, from RARE to 1 - RARE."""
    total = sum(marginals) or 1.0
    # Experts of nothing are alike, should the others not make k.
    shares = [max(marginal / total, _NOTHING) for marginal in marginals]
    low, high = k / 2, 1 / _NOTHING
    while True:
        scale = math.sqrt(low * high)
        scaled = [min(max(RARE, scale * share), 1 - RARE) for share in shares]
        if not low < scale < high:
            return scaled
        low, high = (scale, high) if sum(scaled) < k else (low, scale)


def _odds(weights: Sequence[float], k: int) -> list[float]:
    """The odds that each expert is one of the k: by how many of those before it and of those after it are."""
    draws = [(weight / (1 + weight), 1 / (1 + weight)) for weight in weights]
    before, after = _tables(draws, k), _tables(draws[::-1], k)[::-1]
    odds = list[float]()
    for expert, weight in enumerate(weights):
        some, others = before[expert], after[expert + 1][::-1]
        odds.append(weight * sum(map(mul, some, others[1:])) / sum(map(mul, some, others)))
    return odds


def _tables(draws: Iterable[_Draw], k: int) -> list[list[float]]:
    """Before each draw and after the last: the chances that 0, 1, ... k experts were drawn so far."""
    table = [1.0] + [0.0] * k
    tables = [table]
    for drawn, not_drawn in draws:
        table = [table[0] * not_drawn, *(same * not_drawn + less * drawn for less, same in pairwise(table))]
        tables.append(table)
    return tables


def _draws(weights: Sequence[float], k: int) -> list[_Draw]:
    """The weights, scaled so that independent draws want about k: whatever their scale was, just k is then likely."""
    low, high = k / (len(weights) * max(weights)), len(weights) / min(weight for weight in weights if weight)
    while high > 1.1 * low:
        scale = math.sqrt(low) * math.sqrt(high)
        few = sum(1 - 1 / (1 + scale * weight) for weight in weights) < k
        low, high = (scale, high) if few else (low, scale)
    return [(low * weight / (1 + low * weight), 1 / (1 + low * weight)) for weight in weights]
