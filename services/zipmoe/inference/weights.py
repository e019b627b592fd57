"""Dense weights: everything of a model that is not an expert, brought from its pack into this process's own memory.

Matrices stay packed wherever that is smaller, and are multiplied so.
"""

import math

import torch
from torch import Tensor

from zipmoe.arena import huge_pages
from zipmoe.inference.model.weight import DenseWeights, Weight
from zipmoe.kernels import Packed
from zipmoe.pack.blob import packed_offset
from zipmoe.pack.codec import codec
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch, restore, restore_packed


def load_dense(pack: Pack) -> DenseWeights:
    """Raises CorruptExpert where the pack is damaged."""
    matrices: dict[str, Weight] = {}
    vectors: dict[str, Tensor] = {}
    decoder = codec(pack.codec)
    # One after the other, each from a page on, as reading past the page cache needs.
    memory, used = huge_pages.anonymous(sum(each.resident_bytes for each in pack.dense.values())), 0
    with Scratch() as scratch:
        for name, stored in pack.dense.items():
            (shape, blob), end = stored, used + stored.resident_bytes
            slot, used = memory[used:end], end
            if stored.bits:
                restore_packed(pack.dense_file, blob, decoder, stored.bits, slot, scratch)
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
