"""Dense weights: everything of a model that is not an expert, brought from its pack into this process's own memory.

Matrices stay packed wherever that is smaller, and are multiplied so.
"""

import math
import mmap

import torch
from torch import Tensor

from zipmoe.inference.model.weight import DenseWeights, Weight
from zipmoe.kernels import Packed
from zipmoe.pack.blob import CODE_BITS, packed_offset, slot_bytes
from zipmoe.pack.codec import codec
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch, restore, restore_packed


def load_dense(pack: Pack) -> DenseWeights:
    """Raises CorruptExpert where the pack is damaged."""
    matrices: dict[str, Weight] = {}
    vectors: dict[str, Tensor] = {}
    decoder = codec(pack.codec)
    with Scratch() as scratch:
        for name, (shape, blob) in pack.dense.items():
            bits = min(CODE_BITS, key=blob.part_bytes)
            packed_bytes = packed_offset(blob.weights) + blob.part_bytes(bits)
            if len(shape) == 2 and packed_bytes < slot_bytes(blob.weights):
                memory = _memory(packed_bytes)
                restore_packed(pack.dense_file, blob, decoder, bits, memory, scratch)
                matrices[name] = packed_matrix(memory, blob.weights, 0, *shape)
                continue
            memory = _memory(slot_bytes(blob.weights))
            restore(pack.dense_file, blob, decoder, memory, scratch)
            # Twice as many words as numbers: it is FP32.
            wide = blob.weights == 2 * math.prod(shape)
            dtype, count = (torch.float32, blob.weights // 2) if wide else (torch.bfloat16, blob.weights)
            tensor = torch.frombuffer(memory, dtype=dtype, count=count).view(*shape)
            (matrices if len(shape) == 2 else vectors)[name] = tensor
    return DenseWeights(matrices, vectors)


def packed_matrix(slot: memoryview, weights: int, first: int, rows: int, columns: int) -> Packed:
    """The matrix that starts at weight `first` of the run of `weights` that lies packed in `slot`."""
    half = packed_offset(weights)
    return Packed(slot[:weights], slot[half:], first, rows, columns)


def _memory(size: int) -> memoryview:
    """Mapped memory starts on a page, as reading past the page cache needs."""
    return memoryview(mmap.mmap(-1, size))
