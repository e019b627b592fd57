"""Mixture: a layer's experts applied to a step's tokens, each expert walked to once for all of its tokens."""

from itertools import compress
from typing import Final

import numpy as np

from zipmoe.inference.experts import Experts
from zipmoe.inference.model.arithmetic import Arithmetic, Integers, Rows, Shares
from zipmoe.inference.model.forecast import Expected
from zipmoe.routing.record import Record

# Tokens of a prompt that must be expected to want an expert. It is read if any of them does, and two seldom both err:
# one time in fourteen with the demo model, where a single token errs one time in five.
FEWEST_TOKENS: Final = 2


class WalkedMixture:
    """Calls are the model's `Mixture`: (layer, x [T, H], experts [T, k], gate weights [T, k], what the next layers will
    probably want) -> [T, H]."""

    def __init__(self, experts: Experts, arithmetic: Arithmetic, decoding: bool, record: Record | None = None) -> None:
        self._experts = experts
        self._arithmetic = arithmetic
        self._decoding = decoding
        self._record = record

    def __call__(self, layer: int, x: Rows, experts: Integers, weights: Shares, later: Expected | None = None) -> Rows:
        if self._record is not None:
            self._record.put(layer, experts[0])
        if later is not None:
            self._experts.expect(layer, likely(later))
        do, groups = self._arithmetic, tokens_by_expert(experts, weights)
        wanted = sorted(groups, key=lambda expert: -len(groups[expert][0]))
        needed = {expert: float(groups[expert][1].sum()) for expert in wanted}
        outputs: dict[int, Rows] = {}
        for found in self._experts.walk(layer, needed, self._decoding):
            made = do.experts([(do.take(x, groups[expert][0]), its_weights) for expert, its_weights in found])
            outputs.update((expert, output) for (expert, _), output in zip(found, made, strict=True))
        # Experts arrive in any order; the sum is in the order of their numbers, so the bits do not depend on the cache.
        return do.mix(x, [(*groups[expert], outputs[expert]) for expert in sorted(groups)])


def tokens_by_expert(experts: Integers, weights: Shares) -> dict[int, tuple[Integers, Shares]]:
    """For experts and weights [T, k]: the tokens that each expert has, ascending, and the weights they give it."""
    tokens, k = experts.shape
    flat, shares = experts.reshape(-1), weights.reshape(-1)
    if tokens == 1:
        return {expert: (_FIRST, shares[place : place + 1]) for place, expert in enumerate(flat.tolist())}
    order = np.argsort(flat, kind="stable")
    numbers, starts = np.unique(flat[order], return_index=True)
    groups = np.split(order, starts[1:])
    return {number: (group // k, shares[group]) for number, group in zip(numbers.tolist(), groups, strict=True)}


_FIRST = np.zeros(1, np.int64)


def likely(later: Expected) -> list[list[int]]:
    """By layer, nearest first: who is worth reading ahead, likeliest first. Of many tokens, what most of them want of
    the next layer: together they want nearly all of it, and there is no room for more."""
    if len(later.experts) == 1:
        layers = zip(later.experts[0].tolist(), later.sure[0].tolist(), strict=True)
        return [list(compress(experts, sure)) for experts, sure in layers]
    tokens = np.bincount(later.experts[:, 0].reshape(-1))
    most_first = np.argsort(-tokens, kind="stable")
    return [most_first[tokens[most_first] >= FEWEST_TOKENS].tolist()]
