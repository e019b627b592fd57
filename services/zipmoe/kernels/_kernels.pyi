from typing import Any

from typing_extensions import Buffer

# A 2-D CPU array of 16-bit words, through DLPack or the buffer protocol: a torch or numpy array, imported by neither.
Matrix = Any

def split(words: Buffer, exponents: Buffer, sign_mantissa: Buffer) -> None:
    """Split n BF16 words (2n bytes) into two planes of n bytes, `e = (u >> 7) & 0xFF` and
    `sm = (u >> 8) & 0x80 | u & 0x7F`. ValueError if sizes do not fit or buffers overlap."""

def merge(exponents: Buffer, sign_mantissa: Buffer, words: Buffer) -> None:
    """The inverse of `split`. ValueError if sizes do not fit.

    `sign_mantissa` may lie in the same memory as `words` if it starts at byte n of them or later: read the plane into
    the upper half of a slot and merge in place, whole or in ascending chunks. `exponents` may not overlap `words`."""

def linear(x: Matrix, weight: Matrix, out: Matrix, threads: int) -> None:
    """out [m, N] = x [m, K] times weight [N, K] transposed, in BF16 with FP32 sums; for few rows m.

    The bits of a row of `out` depend neither on `threads` nor on the other rows. ValueError names what does not fit."""

def expert(x: Matrix, gate_up: Matrix, down: Matrix, out: Matrix, threads: int) -> None:
    """out [m, H] = (silu(x gate) * (x up)) down for x [m, H], gate_up [2I, H] with gate's rows first, down [H, I].

    BF16 with FP32 sums, rounded after gate, up, silu, product and down, where transformers' eager BF16 rounds. The bits
    of a row depend neither on `threads` nor on the other rows. ValueError names what does not fit."""
