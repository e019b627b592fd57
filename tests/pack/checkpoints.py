"""Checkpoints: small OLMoE folders of arbitrary bits, written with the safetensors library."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

Words = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Odd sizes, so that runs are neither whole pages nor whole vectors."""

    layers: int = 2
    experts: int = 3
    hidden: int = 37
    intermediate: int = 21

    @property
    def weights(self) -> int:
        return 3 * self.hidden * self.intermediate


STANDARD = Sizes()


def expert_name(layer: int, expert: int) -> str:
    return f"model.layers.{layer}.mlp.experts.{expert}"


def random_words(seed: int, sizes: Sizes = STANDARD, vocabulary: int = 300) -> dict[str, np.ndarray]:
    """Half of the tensors are like trained ones, half are any bits at all."""
    random = np.random.default_rng(seed)
    up, down = (sizes.intermediate, sizes.hidden), (sizes.hidden, sizes.intermediate)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, sizes.hidden),
        "model.norm.weight": (sizes.hidden,),
    }
    for layer in range(sizes.layers):
        shapes[f"model.layers.{layer}.mlp.gate.weight"] = (sizes.experts, sizes.hidden)
        for expert in range(sizes.experts):
            for part, matrix in (("gate_proj", up), ("up_proj", up), ("down_proj", down)):
                shapes[f"{expert_name(layer, expert)}.{part}.weight"] = matrix
    words = {}
    for i, (name, shape) in enumerate(shapes.items()):
        trained = (random.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        words[name] = trained if i % 2 else random.integers(0, 1 << 16, shape, dtype=np.uint16)
    return words


def write(folder: Path, words: Words, sizes: Sizes = STANDARD, shards: int = 1, **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.from_numpy(values.copy()).view(torch.bfloat16) for name, values in words.items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
    else:
        places = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(tensors)}
        for file in sorted(set(places.values())):
            save_file({name: tensors[name] for name, place in places.items() if place == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    standard = {
        "model_type": "olmoe",
        "num_hidden_layers": sizes.layers,
        "num_experts": sizes.experts,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
    }
    (folder / "config.json").write_text(json.dumps(standard | config))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def expert_words(words: Words, layer: int, expert: int) -> bytes:
    """An expert's BF16 bytes as a pack has them: gate, up, down."""
    parts = ("gate_proj", "up_proj", "down_proj")
    return b"".join(words[f"{expert_name(layer, expert)}.{part}.weight"].tobytes() for part in parts)
