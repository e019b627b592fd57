"""What stays resident packed is the checkpoint, bit for bit, whatever its bits are."""

import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.pack.checkpoints import Words, expert_words
from zipmoe import kernels
from zipmoe.errors import CorruptExpert
from zipmoe.pack import writer
from zipmoe.pack.blob import CODE_BITS, PAGE, Blob, packed_offset
from zipmoe.pack.codec import CODECS, codec
from zipmoe.pack.file import PackFile
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch, restore_packed


def restored(pack: Pack, file: PackFile, blob: Blob, bits: int) -> memoryview:
    slot = memoryview(mmap.mmap(-1, max(packed_offset(blob.weights) + blob.part_bytes(bits), mmap.PAGESIZE)))
    with Scratch() as scratch:
        restore_packed(file, blob, codec(pack.codec), bits, slot, scratch)
    return slot


def slot_of(pack: Pack, expert: Blob, bits: int) -> bytes:
    return bytes(restored(pack, pack.experts_file, expert, bits))


def words_of(pack: Pack, file: PackFile, blob: Blob, bits: int) -> bytes:
    """Brings a blob in and unpacks it."""
    slot = restored(pack, file, blob, bits)
    matrix = kernels.Packed(slot[: blob.weights], slot[packed_offset(blob.weights) :], 0, 1, blob.weights)
    out = np.empty((1, blob.weights), dtype=np.uint16)
    kernels.unpack(matrix, out, 1)
    return out.tobytes()


@pytest.mark.parametrize("bits", CODE_BITS)
@pytest.mark.parametrize("name", CODECS)
def test_any_bits_survive(packs: dict[str, Path], words: Words, name: str, bits: int) -> None:
    with Pack.open(packs[name]) as pack:
        for layer in range(pack.geometry.layers):
            for expert in range(pack.geometry.experts):
                found = words_of(pack, pack.experts_file, pack.expert(layer, expert), bits)
                assert found == expert_words(words, layer, expert)
        for tensor, (_, blob) in pack.dense.items():
            assert words_of(pack, pack.dense_file, blob, bits) == words[tensor].tobytes()


def test_the_manifest_knows_what_does_not_compress(packs: dict[str, Path]) -> None:
    with Pack.open(packs["zstd"]) as pack:
        noise = pack.dense["model.embed_tokens.weight"].blob
    assert all(size > noise.weights for size in noise.packed_bytes)


@pytest.mark.parametrize("bits", CODE_BITS)
def test_more_escapes_than_recorded_are_damage(demo_pack: Path, bits: int) -> None:
    with Pack.open(demo_pack) as pack:
        blob = pack.expert(0, 0)
        lying = replace(blob, packed_bytes=tuple(size - PAGE for size in blob.packed_bytes))
        with pytest.raises(CorruptExpert, match=r"experts\.bin: exponents .* more escapes than recorded"):
            words_of(pack, pack.experts_file, lying, bits)


@pytest.mark.parametrize("bits", CODE_BITS)
def test_what_is_stored_packed_is_read_to_its_place(
    demo_checkpoint: Path, demo_pack: Path, tmp_path: Path, bits: int
) -> None:
    """No decoding, and the same bytes as if it had been stored another way."""
    writer.pack(demo_checkpoint, tmp_path / "demo.zipmoe", f"pack{bits}")
    with Pack.open(tmp_path / "demo.zipmoe") as stored, Pack.open(demo_pack) as zstd:
        assert stored.fingerprint == zstd.fingerprint
        for layer, expert in ((0, 0), (7, 15)):
            blob, other = stored.expert(layer, expert), zstd.expert(layer, expert)
            assert blob.shrunk
            assert blob.exponent_bytes == blob.part_bytes(bits)
            assert blob.packed_bytes == other.packed_bytes
            assert slot_of(stored, blob, bits) == slot_of(zstd, other, bits)
