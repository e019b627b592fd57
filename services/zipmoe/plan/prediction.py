"""Prediction: what a partition of the memory for experts is worth. Pure.

Experts of all layers compete for the same slots, so the best ranks of all layers together have them: first those for
words, then those for both planes, then those for one. What a step finds in a layer follows from `law`, what it costs
from `cost`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from zipmoe.plan.cost import Device, Found, Rows, at, bytes_read, layer_seconds
from zipmoe.plan.law import conditional_poisson, hits
from zipmoe.plan.model import Model
from zipmoe.plan.popularity import Popularity


@dataclass(frozen=True, slots=True)
class Pools:
    """Slots for each part."""

    words: int
    sign_mantissas: int
    exponents: int

    @property
    def slots(self) -> tuple[int, int, int]:
        return self.words, self.sign_mantissas, self.exponents

    @property
    def states(self) -> tuple[int, int, int, int]:
        """Experts in F, C, S and E when all slots are taken."""
        both = min(self.sign_mantissas, self.exponents)
        return self.words, both, self.sign_mantissas - both, self.exponents - both

    def bytes(self, model: Model) -> int:
        sizes = (model.words, model.sign_mantissas, model.exponents)
        return sum(slots * size for slots, size in zip(self.slots, sizes, strict=True))


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of a decode step: seconds and bytes of all layers' experts, and the share of those wanted that can be multiplied
    with at once."""

    pools: Pools
    seconds: float
    bytes: float
    hit_rate: float


class Predictor:
    """For one model on one device, decoding with one popularity. Popularity of fewer layers than the model has stands
    for all of them. So many `layers` of it are looked at."""

    def __init__(self, model: Model, device: Device, popular: Popularity, layers: int | None = None) -> None:
        self.model, self.device, self._popular = model, device, popular
        total = len(popular.marginals)
        self._layers = sorted({round(at) for at in np.linspace(0, total - 1, min(layers or total, total))})
        self._costs: dict[tuple[Found, Rows], float] = {}

    @property
    def wanted(self) -> float:
        """Experts of a layer that a step wants."""
        return float(self._popular.wanted.mean())

    def predict(self, pools: Pools) -> Prediction:
        seconds = size = ready = wanted = 0.0
        quotas = self._quotas(pools)
        for layer in self._layers:
            k, weights = self._laws[layer]
            for counts, chance in hits(weights, k, quotas[layer]).items():
                full, compressed, sign_mantissas, exponents = counts
                found = Found(full, compressed, sign_mantissas, exponents, k - sum(counts))
                seconds += chance * self._cost(found, self._popular.rows)
                size += chance * bytes_read(found, self.model)
                ready += chance * (found.full + found.compressed)
            wanted += k
        scale = self.model.layers / len(self._layers)
        return Prediction(pools, seconds * scale, size * scale, ready / wanted)

    def prefill(self, pools: Pools, tokens: int) -> float:
        """Seconds that all layers' experts take for a prompt of so many tokens, over a cache that is full."""
        seconds, quotas = 0.0, self._quotas(pools)
        for layer in self._layers:
            of = self._popular.marginals[layer]
            # Tokens of a prompt that each want an expert as often as a step of decoding does.
            touched = 1 - (1 - np.minimum(np.sort(of)[::-1], 1)) ** tokens
            ends = np.cumsum([0, *quotas[layer], len(touched)])
            counts = [round(touched[start:end].sum()) for start, end in pairwise(ends)]
            full, compressed, sign_mantissas, exponents, absent = counts
            found = Found(full, compressed, sign_mantissas, exponents, absent)
            seconds += self._cost(found, ((tokens * self.model.k / max(1, sum(counts)), 1.0),))
        return seconds * self.model.layers / len(self._layers)

    def dense(self, weights: int, rows: int) -> float:
        """Seconds to multiply so many tokens with so many weights that are no experts'."""
        form = self.model.form if self.model.form in self.device.rates.multiply else "bf16"
        return at(self.device.rates.multiply[form], rows) * weights / self.model.weights

    def _cost(self, found: Found, rows: Rows) -> float:
        if (found, rows) not in self._costs:
            self._costs[found, rows] = layer_seconds(found, rows, self.model, self.device)
        return self._costs[found, rows]

    def _quotas(self, pools: Pools) -> Mapping[int, Sequence[int]]:
        """Per layer, its experts in each state."""
        share = len(self._popular.marginals) / self.model.layers
        ends = np.minimum(np.rint(np.cumsum(pools.states) * share).astype(int), len(self._order))
        counts = np.array([np.bincount(self._order[:end], minlength=len(self._popular.marginals)) for end in ends])
        return {layer: np.diff(counts[:, layer], prepend=0).tolist() for layer in self._layers}

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """The layers of all ranks, the most wanted first."""
        ranked = np.sort(self._popular.marginals, axis=1)[:, ::-1]
        layers = np.broadcast_to(np.arange(len(ranked))[:, None], ranked.shape)
        order: NDArray[np.int64] = layers.ravel()[np.argsort(-ranked.ravel(), kind="stable")]
        return order

    @cached_property
    def _laws(self) -> dict[int, tuple[int, list[float]]]:
        """Per layer, how many experts a step wants and the weights with which it wants each rank."""
        laws = {}
        for layer in self._layers:
            marginals = np.sort(self._popular.marginals[layer])[::-1].tolist()
            k = max(1, round(sum(marginals)))
            laws[layer] = k, conditional_poisson(marginals, k)
        return laws
