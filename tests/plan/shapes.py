"""Shapes: a small model and a device whose rates are round numbers, so that a test can reckon in its head."""

from zipmoe.plan.cost import Device, Rows
from zipmoe.plan.model import Model
from zipmoe.plan.rates import Rates

# Each expert wanted has one token.
ONE: Rows = ((1, 1.0),)

# An expert of a million weights: 1000 pages of sign-mantissas, 400 of exponents.
WEIGHTS = 4_096_000
MODEL = Model(
    layers=4,
    experts=16,
    k=2,
    weights=WEIGHTS,
    form="pack3",
    codec="pack3",
    words=2 * WEIGHTS,
    sign_mantissas=WEIGHTS,
    exponents=1_638_400,
    stored=1_638_400,
)


def device(**other: object) -> Device:
    """Reads 1 GB/s however many read, decodes for nothing, multiplies packed experts in 1 ms and words in 2."""
    rates = {
        "disk": {1: 1e9, 2: 1e9},
        "seek": 1e-4,
        "decode": {"pack3": {1: 1e15, 2: 2e15}, "zstd": {1: 1e9, 2: 2e9}},
        "multiply": {"pack3": {1: 1e-3, 16: 2e-3}, "bf16": {1: 2e-3, 16: 4e-3}},
        "acquire": 1e-12,
        "acquire_cpu": 1e-12,
        "lease": 1e-6,
    }
    return Device(Rates(**(rates | other)), workers=2, cores=2)  # type: ignore[arg-type]
