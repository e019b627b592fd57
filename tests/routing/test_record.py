"""Record: what was put in is read back in order, a ring forgets the oldest, and nothing else is believed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipmoe.errors import InvalidRequest
from zipmoe.routing import record as module
from zipmoe.routing.record import Record, must_read
from zipmoe.routing.routing import Routing

NAME, LAYERS, EXPERTS, K = "00112233445566778899aabbccddeeff", 3, 64, 2


def fill(path: Path, first: int, tokens: int) -> None:
    """Tokens numbered from `first` on, each unlike its neighbours."""
    record = Record(path, NAME, LAYERS, EXPERTS, K)
    for token in range(first, first + tokens):
        for layer in range(LAYERS):
            record.put(layer, chosen(token)[layer])
        record.advance()


def chosen(token: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return (token + np.arange(LAYERS * K).reshape(LAYERS, K) * 7) % EXPERTS


def read(path: Path) -> list[list[list[int]]] | None:
    routing = Record.read(path, NAME)
    return None if routing is None else routing.chosen.tolist()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 50)
    monkeypatch.setattr(module, "FEWEST", 10)


@pytest.mark.parametrize("tokens", [10, 49, 50, 51, 99, 100, 137])
def test_the_last_tokens_are_read_back_in_order(tmp_path: Path, tokens: int) -> None:
    fill(tmp_path / "routing", 0, tokens)
    assert read(tmp_path / "routing") == [chosen(token).tolist() for token in range(max(0, tokens - 50), tokens)]


def test_a_later_start_goes_on_where_the_earlier_ended(tmp_path: Path) -> None:
    fill(tmp_path / "routing", 0, 30)
    fill(tmp_path / "routing", 30, 40)
    assert read(tmp_path / "routing") == [chosen(token).tolist() for token in range(20, 70)]


def test_a_token_that_was_not_finished_is_not_read(tmp_path: Path) -> None:
    fill(tmp_path / "routing", 0, 12)
    Record(tmp_path / "routing", NAME, LAYERS, EXPERTS, K).put(0, np.array([63, 63]))
    assert read(tmp_path / "routing") == [chosen(token).tolist() for token in range(12)]


def test_few_tokens_are_none(tmp_path: Path) -> None:
    fill(tmp_path / "routing", 0, 9)
    assert read(tmp_path / "routing") is None
    with pytest.raises(InvalidRequest, match="holds no routing of this model: let it decode 10 tokens or more first"):
        must_read(tmp_path / "routing", NAME)


def test_another_models_is_none_and_is_begun_anew(tmp_path: Path) -> None:
    fill(tmp_path / "routing", 0, 20)
    assert Record.read(tmp_path / "routing", "another") is None
    Record(tmp_path / "routing", "another", LAYERS, EXPERTS, K)
    assert read(tmp_path / "routing") is None


@pytest.mark.parametrize("text", [b"", b"ZIPMOE\0R", bytes(4096), b"\xff" * 9000])
def test_what_is_no_record_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "routing").write_bytes(text)
    assert Record.read(tmp_path / "routing", NAME) is None


def test_an_expert_that_the_model_has_not_makes_it_none(tmp_path: Path) -> None:
    fill(tmp_path / "routing", 0, 20)
    record = Record(tmp_path / "routing", NAME, LAYERS, EXPERTS, K)
    record.put(0, np.array([1, EXPERTS]))
    record.advance()
    assert read(tmp_path / "routing") is None


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 7))
def test_sequences_side_by_side_are_runs_of_the_tokens(tokens: int, batch: int) -> None:
    routing = Routing(EXPERTS, np.array([chosen(token) for token in range(tokens)]))
    steps = routing.side_by_side(batch)
    assert steps.shape == (tokens // batch, batch, LAYERS, K)
    for step, sequences in enumerate(steps):
        for sequence, token in enumerate(sequences):
            assert token.tolist() == chosen(sequence * (tokens // batch) + step).tolist()
