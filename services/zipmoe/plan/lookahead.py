"""Lookahead: for how many layers ahead experts are read that will probably be wanted. Pure.

Where the disk is what a layer waits for, forecasts make a token faster. Where calls are (experts of a few hundred KiB),
or little is missing, that is not sure, because their loads take the time of cores that multiply: benchmarks.forecast
measures one model of each kind. Two layers ahead come true less often than one, but keep the disk busy from layer to
layer.
"""

from typing import Final

from zipmoe.plan.cost import Device, at
from zipmoe.plan.model import Model
from zipmoe.plan.prediction import Prediction

# How much longer a layer's reads must take than asking for them.
_DISK_BOUND: Final = 2.0
_LAYERS: Final = 2


def lookahead(found: Prediction, model: Model, device: Device) -> int:
    """Two, where layers wait for the disk, else none."""
    read = found.bytes / model.layers / at(device.rates.disk, device.workers)
    return _LAYERS if read > _DISK_BOUND * device.rates.acquire else 0
