"""Form: how experts lie in memory to be multiplied, as BF16 or in packed codes of so many bits; 0 bits are BF16."""

from typing import Final

from zipmoe.pack.blob import CODE_BITS, Blob
from zipmoe.pack.codec import Codec
from zipmoe.pack.file import PackFile
from zipmoe.pack.restore import Restored, Scratch, restore, restore_packed

FORMS: Final = {"bf16": 0} | {f"pack{bits}": bits for bits in CODE_BITS}


def smallest(blob: Blob) -> int:
    """The bits of the form in which it takes the least memory."""
    return min(FORMS.values(), key=blob.resident_bytes)


def bring(file: PackFile, blob: Blob, codec: Codec, bits: int, slot: memoryview, scratch: Scratch) -> Restored:
    """Reads and decodes it as a worker does. CorruptExpert if it is damaged."""
    if bits:
        return restore_packed(file, blob, codec, bits, slot, scratch)
    return restore(file, blob, codec, slot, scratch)
