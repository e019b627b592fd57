"""Popularity: how often the expert of each rank is wanted, when experts are ranked as the serving policy ranks them.

The paper ranks the experts of a layer by their uses in a request, as if these were known beforehand. Here a step's
experts are ranked by what the policy knew before that step, so what is found is what a cache under this policy would
find: a layer that keeps its n best has the first n ranks resident. Identities move, the ranks' frequencies stay.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zipmoe.arena.use import HABIT_HALF_LIFE, RECENT_HALF_LIFE
from zipmoe.plan.cost import Rows
from zipmoe.routing.routing import Routing
from zipmoe.scheduler.policy import chance

WARM: Final = 0.25  # the share of the steps in which the policy only learns
# Steps after which a layer's own counts weigh as much as those of all layers together.
TRUSTED_STEPS: Final = 1000


@dataclass(frozen=True, slots=True)
class Popularity:
    """Of steps that decode `batch` sequences at once. `marginals` [L, E]: the chance that a step wants the layer's
    expert of that rank; a row's sum is how many experts of the layer a step wants on average. `rows`: how many of the
    sequences want an expert that is wanted."""

    batch: int
    marginals: NDArray[np.float64]
    rows: Rows

    @property
    def wanted(self) -> NDArray[np.float64]:
        """[L]: experts of a layer that a step wants."""
        found: NDArray[np.float64] = self.marginals.sum(1)
        return found


def popularity(routing: Routing, batch: int = 1) -> Popularity:
    """From at least a few hundred tokens."""
    size = (routing.layers, routing.experts)
    counts, steps, rows = np.zeros(size), list(_steps(routing, batch)), np.zeros(batch + 1)
    recent, habit = np.zeros(size), np.zeros(size)
    first = int(len(steps) * WARM)
    for number, tokens in enumerate(steps):
        used, rows = tokens > 0, rows + np.bincount(tokens.ravel(), minlength=batch + 1)
        recent *= 2.0 ** (-1 / RECENT_HALF_LIFE)
        habit *= 2.0 ** (-1 / HABIT_HALF_LIFE)
        if number >= first:
            # Ties, at the beginning all of them, go to the lower number, as good as any.
            ranked = np.argsort(-chance(recent, habit), axis=1, kind="stable")
            counts += np.take_along_axis(used, ranked, 1)
        recent += used
        habit += used
    seen = len(steps) - first
    own, all_ = counts / seen, counts.mean(0) / seen
    # A layer's own counts are noise where there are few, and the best of noisy ones are not as good as they look.
    trust = seen / (seen + TRUSTED_STEPS)
    shares = (rows[1:] / rows[1:].sum()).tolist()
    return Popularity(batch, trust * own + (1 - trust) * all_, tuple((n, share) for n, share in enumerate(shares, 1)))


def _steps(routing: Routing, batch: int) -> Iterator[NDArray[np.int64]]:
    """[L, E] of each step: how many of its tokens want the expert."""
    layers = np.arange(routing.layers)[None, :, None]
    for chosen in routing.side_by_side(batch):
        tokens = np.zeros((routing.layers, routing.experts), np.int64)
        np.add.at(tokens, (np.broadcast_to(layers, chosen.shape), chosen), 1)
        yield tokens
