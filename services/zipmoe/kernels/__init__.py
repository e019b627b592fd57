"""Kernels: what touches every weight, in C++. Every function releases the GIL; their docstrings are in _kernels.pyi.

Planes and parts are any C-contiguous buffers (bytes, memoryview, mmap). What multiplies or
unpacks takes 2-D CPU arrays of 16-bit words through DLPack or the buffer protocol: torch.bfloat16 tensors, or uint16
numpy arrays that hold BF16. Names that end in 4 are about weights of 12 bits, multiplied as they are (docs/codecs.md).
"""

from zipmoe.kernels._kernels import (
    Packed4,
    expert,
    expert4,
    exponents4,
    linear,
    linear4,
    merge,
    pack4,
    size4,
    split,
    unpack4,
)

__all__ = [
    "Packed4",
    "expert",
    "expert4",
    "exponents4",
    "linear",
    "linear4",
    "merge",
    "pack4",
    "size4",
    "split",
    "unpack4",
]
