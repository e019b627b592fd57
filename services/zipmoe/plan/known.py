"""Known: what there is to plan with. Routing that was recorded as the model served, or made up like another model's."""

from dataclasses import dataclass
from pathlib import Path

from zipmoe.plan.model import Model
from zipmoe.routing.record import Record
from zipmoe.routing.routing import Routing
from zipmoe.simulate.shape import ANY, Shape
from zipmoe.simulate.synthetic import synthetic

# Layers are alike in routing that is made up, so a few stand for all.
_LAYERS = 4
_REQUESTS, _TOKENS = 8, 100


@dataclass(frozen=True, slots=True)
class Known:
    routing: Routing
    source: str


def known(model: Model, record: Path, fingerprint: str) -> Known:
    routing = Record.read(record, fingerprint)
    if routing is not None and (routing.layers, routing.experts, routing.k) == (model.layers, model.experts, model.k):
        return Known(routing, f"{routing.tokens} tokens that were decoded here")
    like = Shape(model.experts, model.k, model.weights, ANY)
    made = synthetic(like, min(_LAYERS, model.layers), _REQUESTS, _TOKENS, seed=0)
    return Known(made, f"published statistics of {ANY}: nothing of this model is recorded yet")
