"""Kernels: what touches every weight, in C++. Every function releases the GIL; their docstrings are in _kernels.pyi.

Planes and parts are any C-contiguous buffers (bytes, memoryview, mmap). What computes takes 2-D CPU arrays of 16-bit
words through DLPack: uint16 numpy arrays that hold BF16 (a microsecond or two a call), or torch.bfloat16 tensors
(fifteen). Names that end in 4 are about weights of 12 bits, multiplied as they are (docs/codecs.md).
"""

from zipmoe.kernels._kernels import (
    Packed4,
    add,
    add_weighted,
    attend,
    expert,
    expert4,
    experts4,
    exponents4,
    linear,
    linear4,
    merge,
    norm,
    pack4,
    rotate,
    route,
    size4,
    split,
    unpack4,
)

__all__ = [
    "Packed4",
    "add",
    "add_weighted",
    "attend",
    "expert",
    "expert4",
    "experts4",
    "exponents4",
    "linear",
    "linear4",
    "merge",
    "norm",
    "pack4",
    "rotate",
    "route",
    "size4",
    "split",
    "unpack4",
]
