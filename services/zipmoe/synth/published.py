"""Published: routing statistics of real models, the targets of a preset. The figures lie in published.json."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]
DECODED = 19  # tokens of a request, about, behind `per_request`


@dataclass(frozen=True, slots=True)
class Published:
    """Shares of a layer's activations by rank, most popular first: [experts], sum 1."""

    model: str
    static: Shares  # ranked once, over all requests
    per_request: Shares  # ranked anew for every request, so biased upwards by how short it is
    window: int  # tokens of a request that give as many activations an expert as were behind `per_request`
    adjacent: float  # share of a token's experts that its neighbour has too; of another model


def published(model: str, experts: int, k: int) -> Published:
    """What `model` shows, as if it had `experts` experts of which a token takes `k`."""
    table = _table()
    of = table["models"][model]
    return Published(
        model,
        _resampled(of["rank_share_static"], experts),
        _resampled(of["rank_share_per_request"], experts),
        round(DECODED * of["top_k"] / of["experts"] * experts / k),
        table["adjacent_token_overlap"]["Qwen3-30B-A3B"],
    )


def _resampled(shares: list[float], experts: int) -> Shares:
    """The same curve of concentration for another number of experts."""
    curve = np.concatenate(((0.0,), np.cumsum(shares) / np.sum(shares)))
    return np.diff(np.interp(np.linspace(0, 1, experts + 1), np.linspace(0, 1, len(curve)), curve))


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files("zipmoe.synth").joinpath("published.json").read_text())
    return table
