"""The demo model: every tensor of its pack is the checkpoint's, and it has learnt what its page says."""

import json
from pathlib import Path
from statistics import median

import pytest
from safetensors import safe_open

from zipmoe.pack.codec import CODECS
from zipmoe.pack.reader import Pack
from zipmoe.pack.verify import verify
from zipmoe.pack.writer import pack

MOST_BYTES = 64 * 10**6


@pytest.mark.parametrize("codec", CODECS)
def test_every_tensor_is_the_checkpoints_bits(demo_checkpoint: Path, tmp_path: Path, codec: str) -> None:
    pack(demo_checkpoint, tmp_path / "demo.zipmoe", codec)
    with safe_open(demo_checkpoint / "model.safetensors", framework="np") as checkpoint:
        tensors = len(list(checkpoint.keys()))
    verified = verify(tmp_path / "demo.zipmoe", against=demo_checkpoint)
    assert verified.tensors == tensors
    sizes = sum(file.stat().st_size for file in (tmp_path / "demo.zipmoe").iterdir())
    assert sizes < (0.72 if codec == "zstd" else 1.01) * verified.bytes


def test_trained_weights_stay_resident_in_11_or_12_bits(demo_pack: Path) -> None:
    with Pack.open(demo_pack) as opened:
        experts = [blob for layer in opened.manifest.experts for blob in layer]
        assert opened.part_bytes(4) < 0.55 * opened.geometry.weights
        # Some experts have hardly been trained, and their exponents spread wider than eight values.
        assert median(blob.part_bytes(3) / blob.weights for blob in experts) < 0.43


def test_it_is_small_and_beats_xz(demo_checkpoint: Path) -> None:
    assert sum(file.stat().st_size for file in demo_checkpoint.rglob("*") if file.is_file()) < MOST_BYTES
    results = json.loads((demo_checkpoint / "results.json").read_text())
    assert results["bits_per_byte"] < min(1.6, results["xz_bits_per_byte"])
