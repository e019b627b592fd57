"""Statistics: how alike tokens are routed. Pure; L layers, R requests, T tokens each, k experts a token."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zipmoe.synth.forward import Integers, Routing
from zipmoe.synth.published import Published, Shares

# A request's first tokens see too little context to be like the later ones.
WARM = 4  # one part of so many


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of a synthetic model, or the published ones that it is compared with. Means over layers, and requests."""

    static: Shares  # by rank, as in Published
    per_request: Shares
    adjacent: float
    chance: float  # what `adjacent` would be without any structure
    forecast: float | None  # share of a token's experts that the layer before foretells; none is published


def measured(routing: Routing, experts: int, window: int) -> Statistics:
    """`window`: how many tokens at a request's end are ranked together for `per_request`."""
    chosen = _one_hot(routing.experts, experts)
    k, warm = routing.experts.shape[-1], chosen[:, :, chosen.shape[2] // WARM :]
    foretold = chosen[1:] & _one_hot(routing.forecast, experts) if len(routing.forecast) else None
    return Statistics(
        static=_ranked(warm.mean((1, 2)) / k).mean(0),
        per_request=_ranked(chosen[:, :, -window:].mean(2) / k).mean((0, 1)),
        adjacent=float((warm[:, :, 1:] & warm[:, :, :-1]).sum(-1).mean() / k),
        chance=k / experts,
        forecast=None if foretold is None else float(foretold.sum(-1).mean() / k),
    )


def targets(of: Published, chance: float) -> Statistics:
    return Statistics(of.static, of.per_request, of.adjacent, chance, None)


def share_of(part: float, shares: Shares) -> float:
    """Of the activations, what the most popular `part` of a layer's experts gets."""
    return float(shares[: round(part * len(shares))].sum())


def distance(left: Shares, right: Shares) -> float:
    """Total variation: the share of the activations that would have to go elsewhere."""
    return float(np.abs(left - right).sum() / 2)


def _one_hot(chosen: Integers, experts: int) -> NDArray[np.bool_]:
    """[L, R, T, k] -> [L, R, T, experts]"""
    hot = np.zeros((*chosen.shape[:-1], experts), bool)
    np.put_along_axis(hot, chosen, True, -1)
    return hot


def _ranked(shares: Shares) -> Shares:
    return np.sort(shares, axis=-1)[..., ::-1]
