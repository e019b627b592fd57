"""Checkpoints: what cannot be packed losslessly is refused, and the message says what to do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.pack.checkpoints import Sizes, Words, expert_name, random_words, write
from zipmoe.errors import CorruptExpert, InvalidRequest
from zipmoe.pack.writer import pack

DOWN = f"{expert_name(1, 2)}.down_proj.weight"


def refused(tmp_path: Path, match: str, error: type[Exception] = InvalidRequest) -> None:
    """Packing tmp_path/checkpoint fails so, and leaves no destination behind."""
    with pytest.raises(error, match=match):
        pack(tmp_path / "checkpoint", tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize(
    ("dtype", "message"), [(torch.float16, "FP16 has no lossless"), (torch.float32, "FP32 has no")]
)
def test_refuses_other_precisions(tmp_path: Path, words: Words, dtype: torch.dtype, message: str) -> None:
    write(tmp_path / "checkpoint", words)
    tensors = {name: torch.zeros(values.shape, dtype=dtype) for name, values in words.items()}
    save_file(tensors, tmp_path / "checkpoint" / "model.safetensors")
    refused(tmp_path, f"{message}.*use a BF16 checkpoint")


def test_refuses_other_families(tmp_path: Path, words: Words) -> None:
    write(tmp_path / "checkpoint", words, model_type="llama")
    refused(tmp_path, "model_type 'llama' is not supported; supported are: olmoe, qwen2_moe")


@pytest.mark.parametrize("value", [None, 0, "37", True, 37.0])
def test_refuses_a_config_without_sizes(tmp_path: Path, words: Words, value: object) -> None:
    write(tmp_path / "checkpoint", words, hidden_size=value)
    refused(tmp_path, "hidden_size is .* must be a positive integer")


def test_names_a_missing_tensor(tmp_path: Path, words: Words) -> None:
    write(tmp_path / "checkpoint", {name: values for name, values in words.items() if name != DOWN})
    refused(tmp_path, f"lacks {DOWN}")


def test_names_a_tensor_of_another_shape(tmp_path: Path, words: Words) -> None:
    write(tmp_path / "checkpoint", {**words, DOWN: words[DOWN].T})
    refused(tmp_path, rf"{DOWN} has shape \[21, 37\], config.json says \[37, 21\]")


def test_refuses_experts_beyond_the_config(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint", random_words(0), Sizes(experts=2))
    refused(tmp_path, "is an expert's, but config.json has 2 layers of 2 experts")


def test_refuses_a_folder_without_weights(tmp_path: Path) -> None:
    refused(tmp_path, "config.json cannot be read")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}")
    refused(tmp_path, "neither model.safetensors nor model.safetensors.index.json")


def test_refuses_what_the_index_promises_and_is_not_there(tmp_path: Path, words: Words) -> None:
    folder = write(tmp_path / "checkpoint", words, shards=3)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.extra"] = index["weight_map"][DOWN]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(tmp_path, "has model.extra: not so")
    (folder / "model-00002-of-00003.safetensors").unlink()
    refused(tmp_path, "names the shard 'model-00002-of-00003.safetensors', and it is not there")
    index["weight_map"]["model.extra"] = "../checkpoint/config.json"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(tmp_path, "names the shard '../checkpoint/config.json'")


def test_refuses_a_truncated_shard(tmp_path: Path, words: Words) -> None:
    folder = write(tmp_path / "checkpoint", words, shards=2)
    shard = folder / "model-00002-of-00002.safetensors"
    size = shard.stat().st_size
    with shard.open("r+b") as file:
        file.truncate(size - 10)
    refused(tmp_path, f"00002-of-00002.safetensors .* should have {size} bytes, and has {size - 10}", CorruptExpert)


def test_takes_tensors_without_elements(tmp_path: Path, words: Words) -> None:
    write(tmp_path / "checkpoint", {**words, "model.empty": np.zeros((0, 3), np.uint16)})
    assert pack(tmp_path / "checkpoint", tmp_path / "packed").dense["model.empty"].shape == (0, 3)
