"""Names and shapes are those of transformers' own models, one expert a tensor as checkpoints have them."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from zipmoe.synth.layout import layout
from zipmoe.synth.preset import PRESETS

MODEL_LAYERS = {"olmoe-1b-7b": 16, "qwen1.5-moe": 24, "deepseek-v2-lite": 27, "tiny": 4}
BILLIONS = {"olmoe-1b-7b": 6.92, "qwen1.5-moe": 14.32, "deepseek-v2-lite": 15.71, "tiny": 0.0037}


@pytest.mark.parametrize("name", PRESETS)
def test_the_tensors_are_those_of_transformers(name: str) -> None:
    # One layer, and for DeepSeek two: its first is dense.
    layers = 1 + PRESETS[name].config.get("first_k_dense_replace", 0)
    config = dict(PRESETS[name].with_layers(layers).config)
    with torch.device("meta"):
        made: Any = AutoModelForCausalLM
        model = made.from_config(AutoConfig.for_model(**config))
    expected: dict[str, tuple[int, ...]] = {}
    for key, tensor in model.state_dict().items():
        if key.endswith("experts.gate_up_proj"):
            for part in ("gate_proj", "up_proj"):
                expected |= _apart(key.replace("gate_up_proj", ""), part, tensor.chunk(2, dim=1)[0])
        elif key.endswith("experts.down_proj"):
            expected |= _apart(key.replace("down_proj", ""), "down_proj", tensor)
        else:
            expected[key] = tuple(tensor.shape)
    assert {entry.name: entry.shape for entry in layout(config)} == expected


def _apart(prefix: str, part: str, stacked: torch.Tensor) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}{expert}.{part}.weight": tuple(tensor.shape) for expert, tensor in enumerate(stacked)}


@pytest.mark.parametrize("name", PRESETS)
def test_the_models_have_their_sizes(name: str) -> None:
    config = PRESETS[name].config
    assert config["num_hidden_layers"] == MODEL_LAYERS[name]
    weights = sum(entry.weights for entry in layout(config))
    assert weights / 1e9 == pytest.approx(BILLIONS[name], rel=0.005)
