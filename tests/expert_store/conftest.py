"""Fixtures for stores: a small random checkpoint, a pack of it, an arena for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.arena.shapes import shared_folder
from tests.expert_store.bench import EXPERTS, HIDDEN, LAYERS, Bench
from zipmoe.pack.writer import pack


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OLMoE's smallest relative: random weights."""
    folder, chance = tmp_path_factory.mktemp("checkpoint"), torch.Generator().manual_seed(7)

    def weights(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=chance) * 0.02).to(torch.bfloat16)

    tensors = {
        f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight": weights(HIDDEN, HIDDEN)
        for layer in range(LAYERS)
        for expert in range(EXPERTS)
        for part in ("gate", "up", "down")
    }
    config = {
        "model_type": "olmoe",
        "num_hidden_layers": LAYERS,
        "num_experts": EXPERTS,
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN,
        "vocab_size": 128,
        "num_attention_heads": 4,
    }
    save_file({**tensors, "model.embed_tokens.weight": weights(128, HIDDEN)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def small_pack(checkpoint: Path) -> Path:
    path = checkpoint.with_name("small.zipmoe")
    pack(checkpoint, path)
    return path


@pytest.fixture
def packed_bench(checkpoint: Path, small_pack: Path) -> Iterator[Bench]:
    """Its experts stay packed."""
    with shared_folder() as folder, Bench.over(checkpoint, small_pack, folder, "pack3") as bench:
        yield bench


@pytest.fixture
def bench(checkpoint: Path, small_pack: Path) -> Iterator[Bench]:
    with shared_folder() as folder, Bench.over(checkpoint, small_pack, folder) as bench:
        yield bench
