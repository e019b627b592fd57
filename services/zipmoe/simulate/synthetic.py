"""Synthetic: routing with the published statistics, made up.

A token takes the k experts of each layer with the highest scores. A score has four parts: how popular the expert is
with the model, whatever the request (POPULARITY times the logarithm of its published share); with the request; with the
last few tokens (a stationary first-order autoregression); and Gumbel noise, so that without the two in the middle it
would be sampling by popularity. Their strengths were fitted to the shares over all requests and within one, and to how
many of its experts a token has from the one before; `tests/simulate` compares.

Not real: layers do not know of each other, and requests have no subject that comes back.
"""

from typing import Final

import numpy as np

from zipmoe.routing.routing import Routing
from zipmoe.simulate.shape import Shape
from zipmoe.synth.published import published

POPULARITY: Final = 1.95
REQUEST: Final = 0.3  # standard deviations, in units of the noise
TOKENS: Final = 3.0
PERSISTENCE: Final = 0.7  # correlation of neighbours' share of it


def synthetic(like: Shape, layers: int, requests: int, tokens: int, seed: int) -> Routing:
    """Of `requests` of `tokens` tokens each, one after the other. Equal seeds give equal routing."""
    chance, size = np.random.default_rng(seed), (layers, like.experts)
    shares = published(like.statistics, like.experts, like.k).static
    popular = POPULARITY * np.log([chance.permutation(shares) for _ in range(layers)])
    chosen = np.empty((requests, tokens, layers, like.k), np.int64)
    for request in chosen:
        wanted = popular + chance.normal(0, REQUEST, size)
        near = chance.normal(0, TOKENS, size)
        for token in request:
            near = PERSISTENCE * near + chance.normal(0, TOKENS * (1 - PERSISTENCE**2) ** 0.5, size)
            scores = wanted + near + chance.gumbel(0, 1, size)
            token[:] = np.argpartition(-scores, like.k, axis=-1)[:, : like.k]
    return Routing(like.experts, chosen.reshape(-1, layers, like.k))
