"""Mixture: tokens are grouped as a naive loop would, and the sum's bits are transformers' in whichever order experts
arrive."""

import random
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.inference.family import EXPERTS, HIDDEN, TOP, config, noise, same_bits, theirs
from zipmoe.inference.experts import Experts, Found
from zipmoe.inference.mixture import WalkedMixture
from zipmoe.inference.model.mixture import Routed
from zipmoe.inference.model.reference import Reference
from zipmoe.inference.model.tokens import tokens_by_expert
from zipmoe.inference.model.weight import PlainExpert


class Shuffled(Experts):
    """Experts that are all at hand, and are walked to in an order of their own."""

    def __init__(self, module: nn.Module, seed: int) -> None:
        self._module = module
        self._chance = random.Random(seed)
        self.asked: list[tuple[int, dict[int, float], set[int]]] = []

    def walk(self, layer: int, needed: Mapping[int, float], decoded: Collection[int]) -> Iterator[list[Found]]:
        self.asked.append((layer, dict(needed), set(decoded)))
        gate_up, down = self._module.gate_up_proj, self._module.down_proj
        assert isinstance(gate_up, Tensor)
        assert isinstance(down, Tensor)
        experts = self._chance.sample(list(needed), len(needed))
        while experts:
            together = [experts.pop() for _ in range(self._chance.randint(1, len(experts)))]
            yield [(expert, PlainExpert(gate_up[expert], down[expert])) for expert in together]


@pytest.fixture(scope="module")
def module() -> nn.Module:
    experts: nn.Module = theirs.OlmoeExperts(config()).to(torch.bfloat16)
    experts.gate_up_proj = nn.Parameter(noise(1, EXPERTS, 2 * HIDDEN, HIDDEN, scale=0.1), requires_grad=False)
    experts.down_proj = nn.Parameter(noise(2, EXPERTS, HIDDEN, HIDDEN, scale=0.1), requires_grad=False)
    return experts.eval()


def choice(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random x, experts, gate weights."""
    generator = torch.Generator().manual_seed(tokens)
    experts = torch.stack([torch.randperm(EXPERTS, generator=generator)[:TOP] for _ in range(tokens)])
    return noise(tokens, tokens, HIDDEN), experts, noise(3, tokens, TOP).abs()


@given(st.integers(1, 20), st.integers(1, 8), st.randoms(use_true_random=False))
def test_tokens_are_grouped_as_by_a_naive_loop(count: int, k: int, chance: random.Random) -> None:
    rows = [chance.sample(range(10), k) for _ in range(count)]
    naive: dict[int, list[tuple[int, int]]] = {}
    for token, row in enumerate(rows):
        for place, expert in enumerate(row):
            naive.setdefault(expert, []).append((token, place))
    weights = np.arange(count * k, dtype=np.float32).reshape(count, k)
    groups = tokens_by_expert(np.array(rows), weights)
    assert groups.keys() == naive.keys()
    for expert, pairs in naive.items():
        tokens, shares = groups[expert]
        assert tokens.tolist() == [token for token, _ in pairs]
        assert shares.tolist() == [weights[pair] for pair in pairs]


@pytest.mark.parametrize("tokens", [1, 2, 5, 60])
@pytest.mark.parametrize("seed", range(3))
def test_the_sum_is_transformers_in_any_order(module: nn.Module, tokens: int, seed: int) -> None:
    x, experts, weights = choice(tokens)
    expected = module(x, experts, weights)
    mixture = WalkedMixture(Shuffled(module, seed), Reference(threads=2), np.zeros(tokens, np.bool_))
    (ours,) = mixture(0, [Routed(x, experts.numpy(), weights.float().numpy())])
    assert same_bits(ours, expected)


def test_a_walk_is_told_who_is_wanted_most(module: nn.Module) -> None:
    walked = Shuffled(module, 0)
    experts, weights = np.array([[0, 1], [2, 1]]), np.array([[0.5, 0.25], [0.125, 2.0]], np.float32)
    mixture = WalkedMixture(walked, Reference(threads=2), np.array([False, True]))
    mixture(5, [Routed(noise(1, 2, HIDDEN), experts, weights)])
    ((layer, needed, decoded),) = walked.asked
    assert (layer, decoded) == (5, {1, 2})
    assert needed == {1: 2.25, 0: 0.5, 2: 0.125}
    assert next(iter(needed)) == 1
