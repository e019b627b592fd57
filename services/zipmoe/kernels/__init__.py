"""Kernels: what touches every weight, in C++. Every function releases the GIL; their docstrings are in _kernels.pyi.

`split` and `merge` take any C-contiguous buffer (bytes, memoryview, mmap). `expert` and `linear` take 2-D CPU arrays of
16-bit words through DLPack or the buffer protocol: torch.bfloat16 tensors, or uint16 numpy arrays that hold BF16.
"""

from zipmoe.kernels._kernels import expert, linear, merge, split

__all__ = ["expert", "linear", "merge", "split"]
