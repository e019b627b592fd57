"""The folder: whole or not there, the same for the same seed, and good for pack, transformers and tokenizers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from zipmoe.errors import DiskFull, InvalidRequest
from zipmoe.pack.checkpoint import INDEX, Checkpoint
from zipmoe.pack.verify import verify
from zipmoe.pack.writer import pack
from zipmoe.synth import writer
from zipmoe.synth.preset import PRESETS, preset
from zipmoe.synth.tokenizer import tokenizer
from zipmoe.synth.writer import write


def silent(*_: object) -> None:
    pass


def test_the_same_seed_gives_the_same_bytes_and_another_others(tiny: Path, tmp_path: Path) -> None:
    write(preset("tiny"), 0, tmp_path / "same", silent)
    write(preset("tiny"), 1, tmp_path / "other", silent)
    for file in tiny.iterdir():
        assert (tmp_path / "same" / file.name).read_bytes() == file.read_bytes()
    model = "model.safetensors"
    assert (tmp_path / "other" / model).read_bytes() != (tiny / model).read_bytes()


def test_pack_and_verify_accept_it(tiny: Path, tmp_path: Path) -> None:
    pack(tiny, tmp_path / "packed")
    assert verify(tmp_path / "packed", tiny).tensors > 0


def test_transformers_generates_from_it(tiny: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    ids = AutoTokenizer.from_pretrained(tiny)("Once upon a time", return_tensors="pt").input_ids
    made = model.generate(ids, max_new_tokens=16, do_sample=False)
    assert made.shape[1] == ids.shape[1] + 16  # it never ends by itself
    with torch.inference_mode():
        logits = model(made).logits
    assert torch.isfinite(logits).all()
    assert 0.5 < logits.float().std() < 5


def test_shards_and_their_index(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SHARD", 1 << 20)
    size = write(preset("tiny"), 0, tmp_path / "sharded", silent)
    index = json.loads((tmp_path / "sharded" / INDEX).read_text())
    assert index["metadata"]["total_size"] == size
    with Checkpoint(tmp_path / "sharded") as sharded, Checkpoint(tiny) as single:
        assert len(sharded.shards) > 5
        assert sharded.tensors.keys() == single.tensors.keys()
        for name, tensor in single.tensors.items():
            there, here = bytearray(tensor.size), bytearray(tensor.size)
            sharded.read_into(sharded.tensors[name], 0, memoryview(there))
            single.read_into(tensor, 0, memoryview(here))
            assert there == here


def test_it_does_not_touch_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="exists"):
        write(preset("tiny"), 0, tmp_path, silent)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(preset("tiny"), 0, tmp_path / "out", stop)
    assert list(tmp_path.iterdir()) == []


def test_a_small_disk_is_noticed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "free_bytes", lambda _: 1 << 20)
    with pytest.raises(DiskFull, match="fewer layers"):
        write(preset("tiny"), 0, tmp_path / "out", silent)
    assert list(tmp_path.iterdir()) == []


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    size = write(preset("tiny").with_layers(1), 0, tmp_path / "out", lambda done, total, _: heard.append((done, total)))
    assert heard[-1] == (size, size)
    assert heard == sorted(heard)


def test_unknown_models_and_no_layers_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="known are"):
        preset("gpt")
    with pytest.raises(InvalidRequest, match="at least 1"):
        preset("tiny").with_layers(0)


def test_any_text_comes_back_from_the_tokenizer(tiny: Path) -> None:
    text = "The weights that are multiplied are the checkpoint's: naïve “Größe” 東京 🦊\n\tx = 1\r\n"
    made = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    assert made.decode(made.encode(text).ids) == text


@pytest.mark.parametrize("name", ["deepseek-v2-lite", "tiny"])
def test_the_vocabulary_is_the_models(name: str) -> None:
    config = PRESETS[name].config
    made = tokenizer(config)
    assert made.get_vocab_size() == config["vocab_size"]
    assert sorted(made.get_vocab().values()) == list(range(config["vocab_size"]))
    assert made.token_to_id("<|endoftext|>") == config["eos_token_id"]
