"""Synthetic routing has the statistics that are published of real models."""

import numpy as np
import pytest

from zipmoe.errors import InvalidRequest
from zipmoe.routing.routing import Routing
from zipmoe.simulate.shape import SHAPES, shape
from zipmoe.simulate.synthetic import synthetic
from zipmoe.synth.published import published

LAYERS, REQUESTS, TOLERANCE = 4, 60, 0.045


def ranked(counts: np.ndarray) -> np.ndarray:
    return np.sort(counts, axis=-1)[..., ::-1]


@pytest.mark.parametrize("name", SHAPES)
def test_as_unequal_and_as_lasting_as_published(name: str) -> None:
    like = shape(name)
    target = published(like.statistics, like.experts, like.k)
    made = synthetic(like, LAYERS, REQUESTS, target.window, seed=1)
    hot = np.zeros((REQUESTS, target.window, LAYERS, like.experts), bool)
    np.put_along_axis(hot, made.chosen.reshape(REQUESTS, target.window, LAYERS, like.k), True, -1)
    static = ranked(hot.mean((0, 1)) / like.k).mean(0)
    per_request = ranked(hot.mean(1) / like.k).mean((0, 1))
    adjacent = (hot[:, 1:] & hot[:, :-1]).sum(-1).mean() / like.k
    for part in (like.experts // 4, like.experts // 2):
        assert static[:part].sum() == pytest.approx(target.static[:part].sum(), abs=TOLERANCE)
        assert per_request[:part].sum() == pytest.approx(target.per_request[:part].sum(), abs=TOLERANCE)
    assert adjacent == pytest.approx(target.adjacent, abs=TOLERANCE)


def test_a_token_takes_k_different_experts_and_a_seed_makes_all() -> None:
    made = [synthetic(shape("olmoe-1b-7b"), 2, 2, 10, seed) for seed in (5, 5, 6)]
    assert made[0].chosen.shape == (20, 2, 8)
    assert all(len(set(experts)) == 8 for token in made[0].chosen.tolist() for experts in token)
    assert np.array_equal(made[0].chosen, made[1].chosen)
    assert not np.array_equal(made[0].chosen, made[2].chosen)


def test_numbers_do_not_repeat_across_layers() -> None:
    assert Routing(4, np.array([[[0, 3], [0, 1]]])).numbered().tolist() == [[[0, 3], [4, 5]]]


def test_an_unknown_shape_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidRequest, match="olmoe-1b-7b"):
        shape("gpt")
