"""Mixture: a layer's experts applied to a step's tokens, each expert walked to once for all of its tokens."""

from collections.abc import Sequence
from itertools import compress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zipmoe.inference.experts import Experts
from zipmoe.inference.model.arithmetic import Arithmetic, Integers, Rows, Shares
from zipmoe.inference.model.forecast import Expected
from zipmoe.inference.model.mixture import Foretell, Routed
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
        if self._tally is not None:
            self._tally.add(chosen, self._experts.read)
        # Experts arrive in any order; the sum is in the order of their numbers, so the bits do not depend on the cache.
        return [
            do.mix(group.x, [(*tokens[expert], made[expert]) for expert in sorted(tokens)])
            for group, tokens, made in zip(routed, groups, outputs, strict=True)
        ]


# By expert: the rows of a group that want it, ascending, and the gate weights they give it.
Tokens = dict[int, tuple[Integers, Shares]]


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


def tokens_by_expert(experts: Integers, weights: Shares) -> Tokens:
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
