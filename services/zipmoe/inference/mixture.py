"""Mixture: a layer's experts applied to a step's tokens, each expert once for all of its tokens: all in one go where
they are at hand, or as a walk comes to them."""

from collections.abc import Sequence
from itertools import compress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zipmoe.inference.experts import Experts
from zipmoe.inference.model.arithmetic import Arithmetic, Integers, Rows, Shares
from zipmoe.inference.model.forecast import Expected
from zipmoe.inference.model.mixture import Foretell, Routed
from zipmoe.inference.model.tokens import tokens_by_expert
from zipmoe.inference.tally import Tally
from zipmoe.routing.record import Record

# Tokens of a prompt that must be expected to want an expert. It is read if any of them does, and two seldom both err:
# one time in fourteen with the demo model, where a single token errs one time in five.
FEWEST_TOKENS: Final = 2
# Tokens decoded together for which anything is read ahead. More want so much of a layer that the disk is busy with what
# they miss, and what is read ahead keeps it from that: 9 and 4 % of the time of 4 and 16 at 40 % of an OLMoE's experts.
MOST_FORECAST: Final = 1


class WalkedMixture:
    """Calls are the model's `Mixture`."""

    def __init__(
        self,
        experts: Experts,
        arithmetic: Arithmetic,
        decoding: NDArray[np.bool_],
        tally: Tally | None = None,
        record: Record | None = None,
    ) -> None:
        """`decoding` [T] says which tokens of all groups are decoded: the others are a prompt's. With a `record`, the
        routing of the first of them is written down."""
        self._experts = experts
        self._arithmetic = arithmetic
        self._decoding = decoding
        self._all_decode = bool(decoding.all())
        self._forecasts = int(decoding.sum()) <= MOST_FORECAST
        self._tally = tally
        self._record = record
        self._recorded = int(decoding.argmax())

    def __call__(self, layer: int, routed: Sequence[Routed], foretell: Foretell | None = None) -> list[Rows]:
        chosen = _all([group.experts for group in routed])
        if self._record is not None:
            self._record.put(layer, chosen[self._recorded])
        if foretell is not None and self._forecasts and (later := foretell()) is not None:
            self._experts.expect(layer, likely(later))
        made = self._whole(layer, routed, chosen) if self._all_decode else None
        if made is None:
            made = self._walked(layer, routed, chosen)
        if self._tally is not None:
            self._tally.add(chosen, self._experts.read)
        return made

    def _whole(self, layer: int, routed: Sequence[Routed], chosen: Integers) -> list[Rows] | None:
        with self._experts.whole(layer, chosen) as weights:
            if weights is None:
                return None
            return [self._arithmetic.mixture(each.x, each.experts, each.weights, weights) for each in routed]

    def _walked(self, layer: int, routed: Sequence[Routed], chosen: Integers) -> list[Rows]:
        do, groups = self._arithmetic, [tokens_by_expert(group.experts, group.weights) for group in routed]
        needed = _needed(chosen, _all([group.weights for group in routed]))
        decoded = needed.keys() if self._all_decode else frozenset(chosen[self._decoding].reshape(-1).tolist())
        outputs: list[dict[int, Rows]] = [{} for _ in routed]
        for found in self._experts.walk(layer, needed, decoded):
            work = [
                (place, expert, (do.take(routed[place].x, tokens[expert][0]), weights))
                for expert, weights in found
                for place, tokens in enumerate(groups)
                if expert in tokens
            ]
            for (place, expert, _), made in zip(work, do.experts([rows for _, _, rows in work]), strict=True):
                outputs[place][expert] = made
        # Experts arrive in any order; the sum is in the order of their numbers, so the bits do not depend on the cache.
        return [
            do.mix(group.x, [(*tokens[expert], made[expert]) for expert in sorted(tokens)])
            for group, tokens, made in zip(routed, groups, outputs, strict=True)
        ]


def _all(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def _needed(experts: Integers, weights: Shares) -> dict[int, float]:
    """For experts and weights [T, k]: the weight that all tokens together give each, most wanted first."""
    flat, shares = experts.reshape(-1), weights.reshape(-1)
    if len(experts) == 1:
        return dict(zip(flat.tolist(), shares.tolist(), strict=True))
    counts, totals = np.bincount(flat), np.bincount(flat, shares)
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return dict(zip(order.tolist(), totals[order].tolist(), strict=True))


def likely(later: Expected) -> list[list[int]]:
    """By layer, nearest first: who is worth reading ahead, likeliest first. Of many tokens, what most of them want of
    the next layer: together they want nearly all of it, and there is no room for more."""
    if len(later.experts) == 1:
        layers = zip(later.experts[0].tolist(), later.sure[0].tolist(), strict=True)
        return [list(compress(experts, sure)) for experts, sure in layers]
    tokens = np.bincount(later.experts[:, 0].reshape(-1))
    most_first = np.argsort(-tokens, kind="stable")
    return [most_first[tokens[most_first] >= FEWEST_TOKENS].tolist()]
