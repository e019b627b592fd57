"""Kernels: what touches every weight, in C++. Every function releases the GIL; their docstrings are in _kernels.pyi.

Planes and parts are any C-contiguous buffers (bytes, memoryview, mmap). What computes takes 2-D CPU arrays of 16-bit
words through DLPack: uint16 numpy arrays that hold BF16 (a microsecond or two a call), or torch.bfloat16 tensors
(fifteen). Packed weights take 11 or 12 bits and are multiplied as they are (docs/codecs.md).
"""

from zipmoe.kernels._kernels import (
    Packed,
    add,
    attend,
    expert,
    experts,
    linear,
    linears,
    merge,
    mix,
    mixture,
    most_bytes,
    norm,
    pack,
    rotate,
    route,
    split,
    unpack,
    unpack_exponents,
)

__all__ = [
    "Packed",
    "add",
    "attend",
    "expert",
    "experts",
    "linear",
    "linears",
    "merge",
    "mix",
    "mixture",
    "most_bytes",
    "norm",
    "pack",
    "rotate",
    "route",
    "split",
    "unpack",
    "unpack_exponents",
]
