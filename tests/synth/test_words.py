"""Weights: their distribution, and that each tensor stands for itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from zipmoe.synth.preset import PRESETS, preset
from zipmoe.synth.weights import Weights
from zipmoe.synth.words import BLOCK, Stream, exponent_entropy, to_bf16, to_floats

MATRICES = (
    "self_attn.q_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.experts.3.gate_proj",
    "mlp.experts.3.down_proj",
)


@pytest.mark.parametrize("scale", [0.011, 0.0156, 0.02, 0.03, 1.0])
def test_an_exponent_carries_as_much_as_a_trained_models(scale: float) -> None:
    assert 2.5 <= exponent_entropy(Stream(0, "any").words(1 << 20, scale)) <= 2.65


@pytest.mark.parametrize("part", MATRICES)
def test_the_exponents_of_every_kind_of_matrix_do(part: str) -> None:
    words = Weights(preset("olmoe-1b-7b"), 1).words(f"model.layers.2.{part}.weight")
    assert 2.5 <= exponent_entropy(words) <= 2.65


def test_the_scale_is_the_root_mean_square() -> None:
    values = to_floats(Stream(0, "any").words(1 << 20, 0.02))
    assert np.sqrt(np.mean(values**2)) == pytest.approx(0.02, rel=0.01)
    assert abs(values.mean()) < 1e-4


def test_words_do_not_depend_on_how_many_are_asked_for_at_once() -> None:
    whole, parts = Stream(3, "any"), Stream(3, "any")
    together = np.concatenate([parts.words(count, 0.5) for count in (BLOCK, 8, 2 * BLOCK, 4)])
    assert np.array_equal(whole.words(3 * BLOCK + 12, 0.5), together)


def test_rounding_is_torchs() -> None:
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    values[:4] = [0.0, -0.0, 1.00390625, 1.01171875]  # the last two are ties
    expected = torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()
    assert np.array_equal(to_bf16(values), expected)
    assert np.array_equal(to_floats(expected), torch.from_numpy(expected.copy()).view(torch.bfloat16).float().numpy())


def test_a_tensor_depends_on_seed_and_name_alone() -> None:
    first, short = Weights(preset("tiny"), 7), Weights(preset("tiny").with_layers(2), 7)
    other = Weights(preset("tiny"), 8)
    for name in short.entries:
        assert np.array_equal(first.words(name), short.words(name))
        assert not np.array_equal(first.words(name), other.words(name))


@pytest.mark.parametrize("name", PRESETS)
def test_every_weight_is_finite(name: str) -> None:
    small = replace(preset(name), config={**preset("tiny").config, **_small(name)})
    weights = Weights(small, 0)
    for tensor, entry in weights.entries.items():
        words = weights.words(tensor)
        assert words.shape == entry.shape
        assert np.isfinite(to_floats(words)).all()


def _small(name: str) -> dict[str, object]:
    """The family's own sizes, where it needs others than tiny's."""
    config = dict(PRESETS[name].config)
    width = {"moe_intermediate_size": 64, "shared_expert_intermediate_size": 96, "kv_lora_rank": 32}
    rotary = {"qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 8}
    own = {key: value for key, value in (width | rotary).items() if key in config}
    keep = ("model_type", "first_k_dense_replace", "n_shared_experts")
    return own | {key: config[key] for key in keep if key in config} | {"num_hidden_layers": 2}
