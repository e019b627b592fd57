"""Packs: the bits that come out are the bits of the checkpoint, whatever they are."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pack.checkpoints import STANDARD, Sizes, Words, expert_words, random_words, write
from tests.pack.heard import Heard
from tests.pack.restoring import everything
from zipmoe.errors import InvalidRequest, UnknownExpert
from zipmoe.pack import blob
from zipmoe.pack.codec import CODECS, Raw
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch, restore
from zipmoe.pack.verify import verify
from zipmoe.pack.writer import pack


def originals(words: Words, sizes: Sizes = STANDARD) -> dict[str, bytes]:
    dense = {name: values.tobytes() for name, values in words.items() if ".experts." not in name}
    keys = [(layer, expert) for layer in range(sizes.layers) for expert in range(sizes.experts)]
    return dense | {f"{layer}.{expert}": expert_words(words, layer, expert) for layer, expert in keys}


@pytest.mark.parametrize("codec", CODECS)
def test_restores_every_bit(packs: dict[str, Path], words: Words, codec: str) -> None:
    assert everything(packs[codec]) == originals(words)


@pytest.mark.parametrize("codec", CODECS)
@given(st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_restores_any_bits_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, codec: str, data: st.DataObject
) -> None:
    sizes = Sizes(*(data.draw(st.integers(1, most), name) for name, most in
                    (("layers", 2), ("experts", 2), ("hidden", 90), ("intermediate", 90))))  # fmt: skip
    words = random_words(data.draw(st.integers(0, 1 << 30), "seed"), sizes, data.draw(st.integers(1, 50)))
    name = data.draw(st.sampled_from(sorted(words)), "constant tensor")
    words[name] = np.full_like(words[name], data.draw(st.integers(0, 0xFFFF), "word"))
    folder = tmp_path_factory.mktemp("any")
    write(folder / "checkpoint", words, sizes, shards=data.draw(st.integers(1, 3)))
    pack(folder / "checkpoint", folder / "packed", codec)
    assert everything(folder / "packed") == originals(words, sizes)


@pytest.mark.parametrize("codec", CODECS)
def test_restores_runs_of_several_chunks_and_windows(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With small chunks and a window for two of them, so that megabytes are not needed."""
    monkeypatch.setattr(blob, "CHUNK", 4096)

    def small_window(scratch: Scratch) -> None:
        init(scratch)
        scratch.window = scratch.window[: 2 * blob.PAGE]

    init = Scratch.__init__
    monkeypatch.setattr(Scratch, "__init__", small_window)
    sizes = Sizes(1, 2, 79, 83)
    words = random_words(5, sizes, 500)
    write(tmp_path / "checkpoint", words, sizes, shards=2)
    made = pack(tmp_path / "checkpoint", tmp_path / "packed", codec)
    assert len(made.experts[0][0].exponent_sizes) == math.ceil(sizes.weights / 4096)
    assert everything(tmp_path / "packed") == originals(words, sizes)


def test_restores_a_run_of_more_than_a_chunk(tmp_path: Path) -> None:
    sizes = Sizes(1, 1, 613, 613)
    words = random_words(6, sizes, 10)
    write(tmp_path / "checkpoint", words, sizes)
    made = pack(tmp_path / "checkpoint", tmp_path / "packed")
    assert len(made.experts[0][0].exponent_sizes) == 2
    assert everything(tmp_path / "packed") == originals(words, sizes)


def test_says_what_the_model_is(packs: dict[str, Path], checkpoint: Path) -> None:
    with Pack.open(packs["zstd"]) as packed:
        sizes = packed.geometry
        assert (sizes.family, sizes.layers, sizes.experts, sizes.hidden, sizes.intermediate) == ("olmoe", 2, 3, 37, 21)
        assert sizes.weights == 3 * 37 * 21
        assert sizes.slot_bytes == 2 * 4096
        assert packed.config == json.loads((checkpoint / "config.json").read_text())
        assert packed.dense["model.embed_tokens.weight"].shape == (300, 37)
        assert packed.small_file("tokenizer.json") == b"{}"
        with pytest.raises(UnknownExpert, match=r"layer 0, expert 3: .* has 2 layers of 3 experts"):
            packed.expert(0, 3)


def test_a_slot_that_is_too_small_is_the_callers_error(packs: dict[str, Path]) -> None:
    with (
        Pack.open(packs["raw"]) as packed,
        Scratch() as scratch,
        pytest.raises(ValueError, match="slot has 4096 bytes"),
    ):
        restore(packed.experts_file, packed.expert(0, 0), Raw(), memoryview(bytearray(4096)), scratch)


def test_the_fingerprint_names_the_model_not_the_codec(packs: dict[str, Path], tmp_path: Path, words: Words) -> None:
    fingerprints = set()
    for path in packs.values():
        with Pack.open(path) as packed:
            fingerprints.add(packed.fingerprint)
    changed = {name: values.copy() for name, values in words.items()}
    changed["model.norm.weight"][0] ^= 1
    write(tmp_path / "checkpoint", changed)
    fingerprints.add(pack(tmp_path / "checkpoint", tmp_path / "packed").fingerprint)
    assert len(fingerprints) == 2


def test_a_layers_experts_lie_side_by_side(packs: dict[str, Path]) -> None:
    with Pack.open(packs["zstd"]) as packed:
        blobs = [found for layer in packed.manifest.experts for found in layer]
    assert [found.offset for found in blobs[1:]] == [found.end for found in blobs[:-1]]


def test_will_not_overwrite(packs: dict[str, Path], checkpoint: Path) -> None:
    with pytest.raises(InvalidRequest, match="exists: remove it"):
        pack(checkpoint, packs["zstd"])


def test_reports_progress(checkpoint: Path, tmp_path: Path, words: Words) -> None:
    heard = Heard()
    pack(checkpoint, tmp_path / "packed", progress=heard)
    total = sum(values.nbytes for values in words.values())
    assert heard.done == sorted(heard.done)
    assert heard.done[-1] == heard.total == total
    assert len(heard.names) == 2 * 3 + sum(".experts." not in name for name in words)
    assert verify(tmp_path / "packed", checkpoint).bytes == total
