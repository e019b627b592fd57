"""Known: recorded routing where it fits the model, published statistics where not; a budget says what it lacks."""

from pathlib import Path

import numpy as np
import pytest

from tests.plan.shapes import MODEL
from zipmoe.errors import CacheExhausted
from zipmoe.plan.budget import MIB, Budget
from zipmoe.plan.known import known
from zipmoe.routing.record import FEWEST, Record

NAME = "00112233445566778899aabbccddeeff"


def recorded(path: Path, layers: int) -> None:
    record = Record(path, NAME, layers, MODEL.experts, MODEL.k)
    for token in range(FEWEST):
        for layer in range(layers):
            record.put(layer, np.arange(MODEL.k) + token % 3)
        record.advance()


def test_what_was_recorded_is_known(tmp_path: Path) -> None:
    recorded(tmp_path / "routing", MODEL.layers)
    found = known(MODEL, tmp_path / "routing", NAME)
    assert found.source == f"{FEWEST} tokens that were decoded here"
    assert found.routing.tokens == FEWEST


def test_what_fits_another_shape_is_not(tmp_path: Path) -> None:
    recorded(tmp_path / "routing", MODEL.layers + 1)
    found = known(MODEL, tmp_path / "routing", NAME)
    assert found.source == "published statistics of DeepSeek-V2-Lite: nothing of this model is recorded yet"
    assert (found.routing.layers, found.routing.experts, found.routing.k) == (4, MODEL.experts, MODEL.k)


def test_a_budget_leaves_what_is_not_taken() -> None:
    budget = Budget(memory=100 * MIB, processes=20 * MIB, dense=30 * MIB, sequences=5 * MIB, tables=MIB)
    assert budget.slots(fewest=44 * MIB) == 44 * MIB
    assert budget.floor(44 * MIB) == 100 * MIB


def test_too_small_a_budget_names_the_least_that_would_do() -> None:
    budget = Budget(memory=100 * MIB, processes=20 * MIB, dense=30 * MIB, sequences=5 * MIB, tables=MIB)
    with pytest.raises(CacheExhausted, match=r"100 MiB are too few for this model: .* ask for 101 MiB or more"):
        budget.slots(fewest=44 * MIB + 1)
