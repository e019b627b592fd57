"""Tokens: those that each expert has, from the experts that each token has."""

import numpy as np

from zipmoe.inference.model.arithmetic import Integers, Shares

# By expert: the rows of a group that want it, ascending, and the gate weights they give it.
Tokens = dict[int, tuple[Integers, Shares]]


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
