"""What stays resident in pack4 is the checkpoint, bit for bit, whatever its bits are."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from tests.pack.checkpoints import Words, expert_words
from zipmoe import kernels
from zipmoe.errors import CorruptExpert
from zipmoe.pack.blob import Blob, packed_offset, padded
from zipmoe.pack.codec import CODECS, codec
from zipmoe.pack.file import PackFile
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch, restore_packed


def words_of(pack: Pack, file: PackFile, blob: Blob) -> bytes:
    """Brings a blob in and unpacks it."""
    slot = memoryview(mmap.mmap(-1, max(padded(packed_offset(blob.weights) + blob.part_bytes), mmap.PAGESIZE)))
    with Scratch() as scratch:
        restore_packed(file, blob, codec(pack.codec), slot, scratch)
    matrix = kernels.Packed4(slot, slot[packed_offset(blob.weights) :], 0, 1, blob.weights)
    out = np.empty((1, blob.weights), dtype=np.uint16)
    kernels.unpack4(matrix, out, 1)
    return out.tobytes()


@pytest.mark.parametrize("name", CODECS)
def test_any_bits_survive(packs: dict[str, Path], words: Words, name: str) -> None:
    with Pack.open(packs[name]) as pack:
        for layer in range(pack.geometry.layers):
            for expert in range(pack.geometry.experts):
                found = words_of(pack, pack.experts_file, pack.expert(layer, expert))
                assert found == expert_words(words, layer, expert)
        for tensor, (_, blob) in pack.dense.items():
            assert words_of(pack, pack.dense_file, blob) == words[tensor].tobytes()


def test_the_manifest_knows_what_does_not_compress(packs: dict[str, Path]) -> None:
    with Pack.open(packs["zstd"]) as pack:
        noise = pack.dense["model.embed_tokens.weight"].blob
    assert noise.escapes > noise.weights // 2
    assert noise.part_bytes > noise.weights


def test_more_escapes_than_recorded_are_damage(packs: dict[str, Path]) -> None:
    with Pack.open(packs["raw"]) as pack:
        blob = next(blob for _, blob in pack.dense.values() if blob.escapes > 1)
        lying = Blob.from_wire([*blob.to_wire()[:3], blob.escapes // 2, *blob.to_wire()[4:]])
        with pytest.raises(CorruptExpert, match=r"dense\.bin: exponents .* more escapes than recorded"):
            words_of(pack, pack.dense_file, lying)
