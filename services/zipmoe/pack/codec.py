"""Codec: how a chunk of exponents is stored. Contexts are kept for each thread and used again."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from zipmoe import kernels
from zipmoe.errors import InvalidRequest
from zipmoe.pack.blob import CODE_BITS

Bytes = bytes | bytearray | memoryview


class Codec(Protocol):
    name: str

    def compress(self, plane: Bytes) -> bytes: ...

    def decompress_into(self, stored: Bytes, out: memoryview) -> None:
        """Fill `out` exactly and never write past it. ValueError if `stored` is damaged or of another size."""


class Raw:
    name = "raw"

    def compress(self, plane: Bytes) -> bytes:
        return bytes(plane)

    def decompress_into(self, stored: Bytes, out: memoryview) -> None:
        if len(stored) != len(out):
            raise ValueError(f"{len(stored)} raw bytes for {len(out)}")
        out[:] = stored


class Zstd:
    """Level 1: higher levels are larger and slower on exponents."""

    name = "zstd"

    def __init__(self) -> None:
        import zstandard

        self._zstandard = zstandard
        self._contexts = threading.local()

    def compress(self, plane: Bytes) -> bytes:
        if not hasattr(self._contexts, "compressor"):
            self._contexts.compressor = self._zstandard.ZstdCompressor(
                level=1, write_checksum=False, write_content_size=True
            )
        stored: bytes = self._contexts.compressor.compress(plane)
        return stored

    def decompress_into(self, stored: Bytes, out: memoryview) -> None:
        if not hasattr(self._contexts, "decompressor"):
            self._contexts.decompressor = self._zstandard.ZstdDecompressor()
        try:
            # Said size first: zstd then decodes the whole frame straight into `out`, without a window of its own.
            said = self._zstandard.frame_content_size(stored)
            if said != len(out):
                raise ValueError(f"a zstd frame of {said} bytes for {len(out)}")
            with self._contexts.decompressor.stream_reader(stored) as frame:
                got = frame.readinto(out)
        except self._zstandard.ZstdError as error:
            raise ValueError(str(error)) from None
        if got != len(out):
            raise ValueError(f"a zstd frame ended after {got} bytes of {len(out)}")


class Lz4:
    """Block format. The library has no way to decode into a buffer: one copy of a chunk."""

    name = "lz4"

    def __init__(self) -> None:
        import lz4.block

        self._block = lz4.block

    def compress(self, plane: Bytes) -> bytes:
        stored: bytes = self._block.compress(plane, store_size=False)
        return stored

    def decompress_into(self, stored: Bytes, out: memoryview) -> None:
        try:
            plane = self._block.decompress(stored, uncompressed_size=len(out))
        except self._block.LZ4BlockError as error:
            raise ValueError(str(error)) from None
        if len(plane) != len(out):
            raise ValueError(f"an lz4 block of {len(plane)} bytes for {len(out)}")
        out[:] = plane


class Packed:
    """The form that experts are multiplied in: what is stored so is read to its place and needs no decoding."""

    def __init__(self, bits: int) -> None:
        self.name = f"pack{bits}"
        self._bits = bits

    def compress(self, plane: Bytes) -> bytes:
        part = bytearray(kernels.most_bytes(self._bits, len(plane)))
        return bytes(memoryview(part)[: kernels.pack(self._bits, plane, part)])

    def decompress_into(self, stored: Bytes, out: memoryview) -> None:
        kernels.unpack_exponents(stored, out)


CODECS: dict[str, Callable[[], Codec]] = {
    "raw": Raw,
    "zstd": Zstd,
    "lz4": Lz4,
    **{f"pack{bits}": partial(Packed, bits) for bits in CODE_BITS},
}


def codec(name: str) -> Codec:
    """A codec by its name. Its library is imported only now, so that a worker pays for one."""
    if name not in CODECS:
        raise InvalidRequest(f"codec {name!r} is unknown: choose one of {', '.join(CODECS)}")
    return CODECS[name]()
