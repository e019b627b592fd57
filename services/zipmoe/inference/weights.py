"""Dense weights: everything of a model that is not an expert, brought from its pack into this process's own memory."""

import mmap

import torch
from torch import Tensor

from zipmoe.pack.blob import slot_bytes
from zipmoe.pack.codec import codec
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch, restore


def load_dense(pack: Pack) -> dict[str, Tensor]:
    """All dense tensors by their names in the checkpoint, BF16. Raises CorruptExpert where the pack is damaged."""
    tensors, decoder = {}, codec(pack.codec)
    with Scratch() as scratch:
        for name, dense in pack.dense.items():
            # Mapped memory starts on a page, as reading past the page cache needs.
            memory = memoryview(mmap.mmap(-1, slot_bytes(dense.blob.weights)))
            restore(pack.dense_file, dense.blob, decoder, memory, scratch)
            tensors[name] = torch.frombuffer(memory, dtype=torch.bfloat16, count=dense.blob.weights).view(*dense.shape)
    return tensors
