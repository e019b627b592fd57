from collections.abc import Sequence
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

def linear(x: Matrix, weight: Matrix | Packed, out: Matrix, threads: int) -> None:
    """out [m, N] = x [m, K] times weight [N, K] transposed, in BF16 with FP32 sums; for few rows m.

    The bits of a row of `out` depend neither on `threads`, nor on the other rows, nor on whether the weight is packed.
    ValueError names what does not fit."""

def linears(x: Matrix, products: list[tuple[Packed, Matrix]], threads: int) -> None:
    """`linear` of x with each (weight, out), with the threads kept together all the way."""

def expert(x: Matrix, gate_up: Matrix | Packed, down: Matrix | Packed, out: Matrix, threads: int) -> None:
    """out [m, H] = (silu(x gate) * (x up)) down for x [m, H], gate_up [2I, H] with gate's rows first, down [H, I], both
    packed or neither.

    BF16 with FP32 sums, rounded after gate, up, silu, product and down, where transformers' eager BF16 rounds. The bits
    of a row are as independent as those of `linear`. ValueError names what does not fit."""

class Packed:
    """A matrix [rows, columns] in a packed run, from weight `first` of the run on. Make it once for what a slot holds:
    it reads the parts' heads and checks every escape, and then costs a call nothing.

    `sign_mantissa` is the run's plane, a byte a weight in the order of the weights; `parts` are the exponents of its
    chunks, each part padded to 4096 bytes, start at a multiple of 4 and may be longer than their content. Both are
    held, never copied, and may be read-only. ValueError names what does not fit or is damaged."""

    def __init__(self, sign_mantissa: Buffer, parts: Buffer, first: int, rows: int, columns: int) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...

def most_bytes(bits: int, weights: int) -> int:
    """Bytes that the packed exponents of a chunk never exceed, in codes of 3 or 4 bits."""

def pack(bits: int, exponents: Buffer, part: Buffer) -> int | None:
    """Pack the exponents of a chunk of at most 1 Mi weights into `part`, in codes of 3 or 4 bits: the bytes of it used.
    None if they do not fit: its size is the caller's bound, and the chunk stays in another form."""

def unpack_exponents(part: Buffer, exponents: Buffer) -> int:
    """The inverse of `pack`: the bytes of `part` used. ValueError if it is damaged or of another number of weights."""

def unpack(weight: Packed, out: Matrix, threads: int, row: int = 0) -> None:
    """The BF16 words of as many rows as `out` has, from `row` on: for many tokens, a tile that stays in the cache.
    ValueError names what does not fit."""

def experts(experts: list[tuple[Matrix, Packed, Packed, Matrix]], threads: int) -> None:
    """`expert` of each (x, gate_up, down, out), with the threads kept together all the way: for one token an expert is
    so little work that coming together costs as much."""

def mixture(
    x: Matrix, chosen: Any, shares: Any, layer: Sequence[tuple[Packed, Packed]], out: Matrix, threads: int
) -> None:
    """out [T, H]: for each row of x [T, H] the sum of its experts, chosen [T, k] (int64) by their numbers in the
    `layer` of (gate_up, down), each times its share [T, k] (float32), in the order of the numbers. The bits are those
    of `experts` and `mix`, in one call for all of a layer. ValueError names what does not fit."""

# Activations: words [T, ...] of T tokens, computed in FP32 and rounded where transformers' eager BF16 rounds. Each says
# with a ValueError what does not fit.

def norm(x: Matrix, weight: Matrix, epsilon: float, out: Matrix) -> None:
    """out [T, W] = root mean square norm (Zhang and Sennrich, 2019) of the rows of x [T, W], times weight [1, W]."""

def rotate(x: Matrix, heads: int, cosines: Matrix, sines: Matrix) -> None:
    """Turn x [T, N·D] by its positions, in place: rotary embedding (Su et al., 2021), half-rotation form, by cosines
    and sines [T, D]."""

def add(total: Matrix, other: Matrix) -> None:
    """total [T, W] += other [T, W]."""

def mix(total: Matrix, parts: Sequence[tuple[Any, Any, Matrix]]) -> None:
    """total [T, W] = the sum of parts (rows, shares, x), one after the other: shares[i] * x[i] for total[rows[i]], of
    each row of x [t, W]; the product is rounded, and then the sum. `rows` are t int64, `shares` t float32."""

def route(logits: Matrix, normalise: bool, chosen: Any, shares: Any) -> None:
    """The k experts that a softmax of logits [T, E] finds likeliest, best first, into chosen [T, k] (int64), and their
    probabilities, rounded to BF16, into shares [T, k] (float32): of all, or normalised to a sum of 1."""

def attend(
    query: Matrix,
    key: Matrix,
    value: Matrix,
    keys: Matrix,
    values: Matrix,
    sequences: Sequence[tuple[int, int, Any]],
    page: int,
    heads: int,
    scale: float,
    out: Matrix,
    threads: int,
) -> None:
    """Causal attention of query [T, N·D], tokens of some sequences one behind the other: out [T, N·V].

    A sequence is (tokens, start, pages): so many of T, behind the `start` that it has already, over those and
    themselves. Keys and values of all sequences lie in keys [R, M·D] and values [R, M·V], in pages of `page` rows; a
    sequence's are the numbers `pages` (int32), in order. Those of the T tokens, key [T, M·D] and value [T, M·V], are
    put there first. Each of M heads of keys serves N / M heads of queries, in order. Where there are no values, [R, 0],
    the first V of each key are."""
