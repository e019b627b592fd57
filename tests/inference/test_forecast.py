"""Forecast: what each later layer's router says to the stream as it is now. It changes no bit of what is computed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.inference.family import noise, same_bits
from tests.inference.texts import Lone
from zipmoe.inference.experts import Experts, Found
from zipmoe.inference.mixture import WalkedMixture, likely
from zipmoe.inference.model.arithmetic import Arithmetic, Integers
from zipmoe.inference.model.decoder import Decoder
from zipmoe.inference.model.families import decoder
from zipmoe.inference.model.fast import words
from zipmoe.inference.model.forecast import SURE, Expected, Forecast
from zipmoe.inference.model.modes import arithmetic
from zipmoe.inference.model.weight import DenseWeights, PlainExpert

LAYERS, HIDDEN, EXPERTS, TOP, EPSILON = 4, 64, 8, 3, 1e-5
MODES = ("fast", "reference")

CONFIG: dict[str, Any] = {
    "model_type": "olmoe",
    "num_hidden_layers": LAYERS,
    "hidden_size": HIDDEN,
    "num_attention_heads": 4,
    "num_experts_per_tok": TOP,
    "max_position_embeddings": 64,
    "vocab_size": 96,
}


def routers() -> list[tuple[Tensor, Tensor]]:
    return [(noise(layer, EXPERTS, HIDDEN), noise(50 + layer, HIDDEN).abs() + 0.5) for layer in range(LAYERS)]


def by_hand(x: Tensor, router: Tensor, weight: Tensor) -> Tensor:
    """What the layer's router would choose for x [T, H], in FP64: scores [T, E]."""
    wide = x.double()
    normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPSILON) * weight.double()
    return normed @ router.double().T


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tokens", [1, 2, 40])
@pytest.mark.parametrize("depth", [1, 2, 9])
def test_it_is_each_later_layers_own_choice(mode: str, tokens: int, depth: int) -> None:
    do, x = arithmetic(mode, 2), noise(99, tokens, HIDDEN, scale=3.0)
    forecast = Forecast(do, routers(), TOP, EPSILON, depth)
    for layer in range(LAYERS):
        found = forecast(layer, [words(x) if mode == "fast" else x])
        ahead = min(depth, LAYERS - 1 - layer)
        if not ahead:
            assert found is None
            continue
        assert found is not None
        assert found.experts.shape == found.sure.shape == (tokens, ahead, TOP)
        for place in range(ahead):
            scores = by_hand(x, *routers()[layer + 1 + place])
            ours = scores.gather(1, torch.from_numpy(found.experts[:, place].copy()))
            best = scores.topk(TOP + 1).values
            # The same experts in the same order, but where BF16 cannot tell two apart.
            torch.testing.assert_close(ours, best[:, :TOP], rtol=0.03, atol=0.1)
            margin = best[:, :TOP] - best[:, TOP:] - np.log(SURE)
            clear = margin.abs() > 0.2
            assert torch.equal(torch.from_numpy(found.sure[:, place].copy())[clear], (margin > 0)[clear])


def expected(experts: list[list[list[int]]], unsure: tuple[int, ...] = ()) -> Expected:
    """All but some experts surely."""
    chosen = np.array(experts)
    return Expected(chosen, ~np.isin(chosen, unsure))


def test_of_one_token_all_that_is_sure_is_worth_reading_nearest_layer_first() -> None:
    assert likely(expected([[[5, 1, 2], [7, 0, 3]]])) == [[5, 1, 2], [7, 0, 3]]
    assert likely(expected([[[5, 1, 2], [7, 0, 3]]], unsure=(2, 0, 3))) == [[5, 1], [7]]


def test_of_many_tokens_what_two_want_of_the_next_layer_is_worth_reading() -> None:
    experts = [[[5, 1], [0, 1]], [[5, 2], [0, 1]], [[2, 5], [0, 1]], [[3, 4], [0, 1]]]
    assert likely(expected(experts, unsure=(5,))) == [[5, 2]]


class Listed(Experts):
    """Random experts at hand; lists what is expected, and then what is walked to."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, Sequence[Sequence[int]]]] = []

    def expect(self, layer: int, later: Sequence[Sequence[int]]) -> None:
        self.heard.append(("expect", layer, later))

    @contextmanager
    def whole(self, layer: int, chosen: Integers) -> Iterator[None]:
        del layer, chosen
        yield None

    def walk(self, layer: int, needed: Mapping[int, float], decoded: Collection[int]) -> Iterator[list[Found]]:
        del decoded
        self.heard.append(("walk", layer, [list(needed)]))
        for expert in needed:
            seed = 1000 + layer * EXPERTS + expert
            gate_up, down = noise(seed, 2 * HIDDEN, HIDDEN, scale=0.1), noise(-seed, HIDDEN, HIDDEN, scale=0.1)
            yield [(expert, PlainExpert(gate_up, down))]


def model(do: Arithmetic, forecast: int) -> Decoder:
    matrices, vectors = dict[str, Tensor](), dict[str, Tensor]()
    for layer, (router, weight) in enumerate(routers()):
        at = f"model.layers.{layer}."
        for place, name in enumerate(("q", "k", "v", "o")):
            matrices[f"{at}self_attn.{name}_proj.weight"] = noise(100 + 4 * layer + place, HIDDEN, HIDDEN, scale=0.1)
        for name in ("input_layernorm", "self_attn.q_norm", "self_attn.k_norm"):
            vectors[f"{at}{name}.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
        vectors[f"{at}post_attention_layernorm.weight"], matrices[f"{at}mlp.gate.weight"] = weight, router
    for seed, name in enumerate(("model.embed_tokens", "lm_head")):
        matrices[f"{name}.weight"] = noise(200 + seed, 96, HIDDEN)
    vectors["model.norm.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
    return decoder(CONFIG, DenseWeights(matrices, vectors), do, forecast)


def run(mode: str, forecast: int) -> tuple[list[Tensor], list[tuple[str, int, Sequence[Sequence[int]]]]]:
    """Logits of a prompt of nine tokens and of three decoded ones; what its experts have heard."""
    do, experts, seen = arithmetic(mode, 2), Listed(), list[Tensor]()
    text = Lone(model(do, forecast), 16)
    for tokens in ([3, 1, 4, 1, 5, 9, 2, 6, 5], [35], [89], [79]):
        mixture = WalkedMixture(experts, do, np.full(len(tokens), len(tokens) == 1))
        seen.append(text.forward(torch.tensor(tokens), mixture).clone())
    return seen, experts.heard


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", [1, 3])
def test_logits_are_the_same_with_and_without(mode: str, depth: int) -> None:
    without, heard = run(mode, 0)
    assert all(what == "walk" for what, _, _ in heard), "no forecast is made"
    logits, heard = run(mode, depth)
    assert all(same_bits(ours, theirs) for ours, theirs in zip(logits, without, strict=True))
    order = [(what, layer) for what, layer, _ in heard]
    step = [(what, layer) for layer in range(LAYERS) for what in ("expect", "walk") if (what, layer) != ("expect", 3)]
    assert order == 4 * step
    assert all(len(later) == min(depth, 3 - layer) for what, layer, later in heard[7:] if what == "expect")


def test_nothing_is_read_ahead_for_many_that_are_decoded_together() -> None:
    do, experts = arithmetic("fast", 2), Listed()
    text = Lone(model(do, 1), 16)
    text.forward(torch.tensor([3, 1, 4]), WalkedMixture(experts, do, np.ones(3, np.bool_)))
    assert [what for what, _, _ in experts.heard] == ["walk"] * LAYERS
