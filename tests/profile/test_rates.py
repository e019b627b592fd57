"""Rates: plain values and back, and nothing that a planner could stumble over."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from zipmoe.plan.rates import Rates

RATES = Rates(
    disk={1: 1.0e9, 2: 1.1e9},
    seek=1e-4,
    decode={"zstd": {1: 6e8, 2: 1.1e9}, "pack3": {1: 2e10}},
    multiply={"bf16": {1: 1e-3, 64: 2e-2}, "pack3": {1: 5e-4}},
    acquire=1.5e-3,
    acquire_cpu=3e-3,
    lease=2e-6,
)


def test_they_come_back_through_json() -> None:
    assert Rates.from_json(json.loads(json.dumps(RATES.to_json()))) == RATES


def test_whole_numbers_will_do() -> None:
    assert Rates.from_json(replace(RATES, seek=1).to_json()).seek == 1.0


@pytest.mark.parametrize("field", ["disk", "seek", "decode", "multiply", "acquire", "acquire_cpu", "lease"])
@pytest.mark.parametrize("value", [None, 0, -1.0, math.nan, math.inf, 10**400, True, "1", [], {}, {"x": {}}, {"a": 1}])
def test_what_is_no_rate_is_said(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match="not rates"):
        Rates.from_json(RATES.to_json() | {field: value})


@pytest.mark.parametrize("plain", [None, [], {}, "rates", 3, {"disk": {"1": 1.0}}])
def test_what_is_something_else_is_said(plain: Any) -> None:
    with pytest.raises(ValueError, match="not rates"):
        Rates.from_json(plain)
