"""Sampling: greedy is the likeliest, filters keep what they say, equal seeds draw equal tokens."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zipmoe.errors import InvalidRequest
from zipmoe.inference.sampling import LARGEST_SEED, Sampling, choose

LOGITS = torch.tensor([0.1, 2.0, -1.0, 1.9, 0.5, 1.0], dtype=torch.bfloat16)
LIKELIEST = 1


def draws(sampling: Sampling, count: int = 400, logits: Tensor = LOGITS) -> list[int]:
    generator = sampling.generator()
    return [choose(logits, sampling, generator) for _ in range(count)]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0, top_p=0.5, top_k=3, seed=1),
        Sampling(temperature=1.0, top_k=1, seed=1),
        Sampling(temperature=1.0, top_p=1e-6, seed=1),
        Sampling(temperature=1e-4, seed=1),
        Sampling(temperature=1e-40, seed=1),
        Sampling(temperature=100.0, top_k=1, seed=1),
    ],
)
def test_the_likeliest_token_is_the_only_one(sampling: Sampling) -> None:
    assert set(draws(sampling, 50)) == {LIKELIEST}


def test_of_equally_likely_tokens_greedy_takes_the_first() -> None:
    assert choose(torch.tensor([1.0, 3.0, 3.0]), Sampling(), torch.Generator()) == 1


@given(
    st.lists(st.tuples(st.integers(0, 0x7F80), st.sampled_from((0, 0x8000))), min_size=1), st.sampled_from((0, 0x8000))
)
def test_the_highest_of_any_words_is_found(words: list[tuple[int, int]], below: int) -> None:
    """Zeros of both signs, infinities and subnormal numbers among them; and where none is above zero."""
    logits = torch.tensor([word | sign | below for word, sign in words], dtype=torch.uint16).view(torch.bfloat16)
    assert choose(logits, Sampling(), torch.Generator()) == int(logits.double().numpy().argmax())


@pytest.mark.parametrize(("top_k", "kept"), [(2, {1, 3}), (3, {1, 3, 5}), (0, {0, 1, 2, 3, 4, 5}), (99, {*range(6)})])
def test_top_k_keeps_the_k_likeliest(top_k: int, kept: set[int]) -> None:
    assert set(draws(Sampling(temperature=2.0, top_k=top_k, seed=3))) == kept


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    shares = torch.tensor([0.5, 0.25, 0.125, 0.125])
    for top_p, kept in ((0.5, {0}), (0.51, {0, 1}), (0.75, {0, 1}), (0.76, {0, 1, 2}), (1.0, {0, 1, 2, 3})):
        assert set(draws(Sampling(temperature=1.0, top_p=top_p, seed=3), logits=shares.log())) == kept, top_p


def test_tokens_are_drawn_by_their_shares() -> None:
    drawn = draws(Sampling(temperature=1.0, seed=5), 4000, torch.tensor([0.5, 0.3, 0.2]).log())
    assert [drawn.count(token) / len(drawn) for token in range(3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_a_higher_temperature_flattens() -> None:
    cold, hot = (draws(Sampling(temperature=heat, seed=5)).count(LIKELIEST) for heat in (0.5, 5.0))
    assert cold > 1.5 * hot


def test_equal_seeds_draw_equal_tokens() -> None:
    one = draws(Sampling(temperature=1.0, seed=11), 50)
    assert draws(Sampling(temperature=1.0, seed=11), 50) == one
    assert draws(Sampling(temperature=1.0, seed=12), 50) != one
    assert len(draws(Sampling(temperature=1.0, seed=LARGEST_SEED), 1)) == 1


def test_without_a_seed_every_generator_is_another() -> None:
    assert draws(Sampling(temperature=1.0), 50) != draws(Sampling(temperature=1.0), 50)


@given(
    st.lists(st.floats(-20, 20), min_size=1, max_size=30),
    st.floats(0.01, 10),
    st.floats(0.001, 1),
    st.integers(0, 40),
)
def test_what_is_drawn_is_among_the_k_likeliest(
    scores: list[float], temperature: float, top_p: float, top_k: int
) -> None:
    token = choose(torch.tensor(scores), Sampling(None, temperature, top_p, top_k, 1), torch.Generator())
    likelier = sum(score > scores[token] for score in scores)
    assert likelier < (top_k or len(scores))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("temperature", -0.1),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", float("nan")),
        ("top_k", -1),
        ("seed", -1),
        ("seed", LARGEST_SEED + 1),
        ("stop", ("end", "")),
    ],
)
def test_a_parameter_out_of_range_is_named_with_its_value(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Sampling(**{name: value})
    assert str(caught.value).startswith(f"{name} is {value!r}: it must be ")
