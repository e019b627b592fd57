"""Dense weights: everything of a model that is not an expert, brought from its pack into this process's own memory.

Matrices stay packed wherever that is smaller, and are multiplied so.
"""

import math

import torch
from torch import Tensor

from zipmoe.arena import huge_pages
from zipmoe.inference.model.weight import DenseWeights, Weight
from zipmoe.kernels import Packed
from zipmoe.pack.blob import CODE_BITS, Blob, packed_offset, slot_bytes
from zipmoe.pack.codec import codec
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch, restore, restore_packed


def load_dense(pack: Pack) -> DenseWeights:
    """Raises CorruptExpert where the pack is damaged."""
    matrices: dict[str, Weight] = {}
    vectors: dict[str, Tensor] = {}
    decoder = codec(pack.codec)
    # One after the other, each from a page on, as reading past the page cache needs.
    memory, used = huge_pages.anonymous(sum(_bytes(*form) for form in pack.dense.values())), 0
    with Scratch() as scratch:
        for name, (shape, blob) in pack.dense.items():
            size = _bytes(shape, blob)
            slot, used = memory[used : used + size], used + size
            if (bits := _bits(shape, blob)) is not None:
                restore_packed(pack.dense_file, blob, decoder, bits, slot, scratch)
                matrices[name] = packed_matrix(slot, blob.weights, 0, *shape)
                continue
            restore(pack.dense_file, blob, decoder, slot, scratch)
            # Twice as many words as numbers: it is FP32.
            wide = blob.weights == 2 * math.prod(shape)
            dtype, count = (torch.float32, blob.weights // 2) if wide else (torch.bfloat16, blob.weights)
            tensor = torch.frombuffer(slot, dtype=dtype, count=count).view(*shape)
            (matrices if len(shape) == 2 else vectors)[name] = tensor
    return DenseWeights(matrices, vectors)


def packed_matrix(slot: memoryview, weights: int, first: int, rows: int, columns: int) -> Packed:
    """The matrix that starts at weight `first` of the run of `weights` that lies packed in `slot`."""
    half = packed_offset(weights)
    return Packed(slot[:weights], slot[half:], first, rows, columns)


def _bits(shape: tuple[int, ...], blob: Blob) -> int | None:
    """Of an exponent's code, if it stays packed."""
    bits = min(CODE_BITS, key=blob.part_bytes)
    smaller = packed_offset(blob.weights) + blob.part_bytes(bits) < slot_bytes(blob.weights)
    return bits if len(shape) == 2 and smaller else None


def _bytes(shape: tuple[int, ...], blob: Blob) -> int:
    """Of memory: whole pages."""
    bits = _bits(shape, blob)
    return slot_bytes(blob.weights) if bits is None else packed_offset(blob.weights) + blob.part_bytes(bits)
