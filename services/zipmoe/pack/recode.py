"""Recode: a run of words from one resident form to another, in memory alone. No bit of it changes."""

from zipmoe.errors import CorruptExpert
from zipmoe.kernels import merge, pack, split, unpack_exponents
from zipmoe.pack.blob import CODE_BITS, Blob, chunks, padded
from zipmoe.pack.restore import Scratch


def recover(blob: Blob, plane: memoryview, parts: memoryview, slot: memoryview, scratch: Scratch) -> None:
    """The words in `slot`, from sign-mantissas and packed exponents: the paper's C to F."""
    used = 0
    for first, length in chunks(blob.weights):
        exponents, last = scratch.plane[:length], first + length
        used += padded(unpack_exponents(parts[used:], exponents))
        merge(exponents, plane[first:last], slot[2 * first : 2 * last])


def reduce(blob: Blob, slot: memoryview, bits: int, plane: memoryview, parts: memoryview, scratch: Scratch) -> None:
    """Sign-mantissas and exponents in codes of so many bits, from the words in `slot`: F to C.

    CorruptExpert where the exponents need more room than they did as the pack was written: these are not its words."""
    assert bits in CODE_BITS
    used = 0
    for first, length in chunks(blob.weights):
        exponents, last = scratch.plane[:length], first + length
        split(slot[2 * first : 2 * last], exponents, plane[first:last])
        size = pack(bits, exponents, parts[used:])
        if size is None:
            raise CorruptExpert(f"an expert of {blob.weights} weights no longer fits its slot: restart the services")
        used += padded(size)
