"""Lookahead: for how many layers ahead experts are read that will probably be wanted. Pure."""

import math
from typing import Final

from zipmoe.plan.cost import Device, at
from zipmoe.plan.model import Model
from zipmoe.plan.prediction import Prediction

# Further ahead, forecasts come true too seldom (benchmarks.forecast).
MOST_LAYERS: Final = 2

# Experts a layer that are missed on average; with fewer there is nothing to be gained by guessing.
FEWEST_MISSES: Final = 0.05


def lookahead(found: Prediction, model: Model, device: Device) -> int:
    """As many layers as it takes to read an expert, because one that is forecast a layer before it is wanted has that
    long to come; none where hardly anything is missed."""
    if found.bytes / model.layers < FEWEST_MISSES * model.read:
        return 0
    read = device.rates.acquire + model.read / at(device.rates.disk, 1)
    return min(MOST_LAYERS, math.ceil(read / (found.seconds / model.layers)))
