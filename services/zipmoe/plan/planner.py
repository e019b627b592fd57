"""Planner: how memory for experts is best divided among the pools. Pure: it compares what divisions are predicted."""

from collections.abc import Iterator
from typing import Final

from zipmoe.arena.layout import FEWEST_SLOTS, Part
from zipmoe.plan.model import Model
from zipmoe.plan.prediction import Pools, Prediction, Predictor

# The shares of the memory that are tried: for words; and, of the rest, for one plane without the other.
_FOR_WORDS: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
_FOR_ONE_PLANE: Final = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)

# What a plan must gain over the plain one, all slots for both planes: less is within what predictions are wrong by.
_WORTH_IT: Final = 0.98


def plan(predictor: Predictor, memory: int) -> Prediction:
    """The division of so many bytes with the least expected time, or the plain one if none is clearly better."""
    found = [predictor.predict(pools) for pools in candidates(predictor.model, memory)]
    plain, best = found[0], min(found, key=lambda each: each.seconds)
    return best if best.seconds < _WORTH_IT * plain.seconds else plain


def candidates(model: Model, memory: int) -> Iterator[Pools]:
    """Divisions that fit, the plain one first: all experts as they are multiplied."""
    pair = model.sign_mantissas + model.exponents
    if not model.exponents:
        yield Pools(min(memory // model.words, model.total), 0, 0)
        return
    seen = set[Pools]()
    # If all fit packed and memory is left, it may make words of some.
    spare = memory - model.total * pair
    for words in (0, *(int(share * memory) // model.words for share in _FOR_WORDS), spare // (model.words - pair)):
        words = max(0, min(words, model.total))
        for pools in _planes(model, memory - words * model.words, words):
            if pools not in seen and _usable(pools):
                seen.add(pools)
                yield pools


def _planes(model: Model, memory: int, words: int) -> Iterator[Pools]:
    most = model.total - words
    pair = model.sign_mantissas + model.exponents
    for alone, part in ((share, part) for share in _FOR_ONE_PLANE for part in (Part.SIGN_MANTISSAS, Part.EXPONENTS)):
        both = min(int((1 - alone) * memory) // pair, most)
        size = model.sign_mantissas if part is Part.SIGN_MANTISSAS else model.exponents
        one = min((memory - both * pair) // size, most - both) if alone else 0
        more = part is Part.SIGN_MANTISSAS
        yield Pools(words, both + one * more, both + one * (not more))


def _usable(pools: Pools) -> bool:
    planes = (pools.sign_mantissas, pools.exponents)
    return (pools.words >= FEWEST_SLOTS and planes == (0, 0)) or min(planes) >= FEWEST_SLOTS
