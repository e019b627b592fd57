"""Restoring: everything in a pack, as bytes."""

import mmap
from pathlib import Path

from zipmoe.pack.blob import Blob, slot_bytes
from zipmoe.pack.codec import codec
from zipmoe.pack.file import PackFile
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch, restore


def restored(pack: Pack, file: PackFile, blob: Blob) -> bytes:
    slot = memoryview(mmap.mmap(-1, max(slot_bytes(blob.weights), mmap.PAGESIZE)))
    with Scratch() as scratch:
        cost = restore(file, blob, codec(pack.codec), slot, scratch)
    assert cost.bytes_read == blob.end - blob.offset
    return bytes(slot[: 2 * blob.weights])


def everything(path: Path) -> dict[str, bytes]:
    """Every blob's words; an expert is called "layer.expert"."""
    with Pack.open(path) as pack:
        sizes = pack.geometry
        found = {
            f"{layer}.{expert}": restored(pack, pack.experts_file, pack.expert(layer, expert))
            for layer in range(sizes.layers)
            for expert in range(sizes.experts)
        }
        return found | {name: restored(pack, pack.dense_file, blob) for name, (_, blob) in pack.dense.items()}
