"""Appender: a weight file while it is being written."""

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from xxhash import xxh3_64

from zipmoe.pack.blob import CODE_BITS, Blob, padded
from zipmoe.pack.encode import Chunk

_HASHED_AT_ONCE = 1 << 20


class Appender:
    """The file at `path`, made if it is not there; blobs are appended at `end`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __enter__(self) -> "Appender":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._fd)

    def holds(self, blob: Blob) -> bool:
        """Whether `blob` is next and its stored bytes hash to what it says."""
        return (
            blob.offset == self.end
            and self._hash(blob.offset, blob.exponent_bytes) == blob.exponent_hash
            and self._hash(blob.sign_mantissa_offset, padded(blob.weights)) == blob.sign_mantissa_hash
        )

    def truncate(self) -> None:
        """Drop what lies behind `end`."""
        os.ftruncate(self._fd, self.end)

    def append(self, weights: int, exponents: Iterable[Chunk], sign_mantissas: Iterable[Chunk]) -> Blob:
        """Write a blob. OSError if the disk is full; `end` is then where it was."""
        position = self.end
        original, exponent_hash, sign_mantissa_hash = xxh3_64(), xxh3_64(), xxh3_64()
        sizes, packed = list[int](), [0] * len(CODE_BITS)
        for chunk in exponents:
            original.update(chunk.words)
            sizes.append(len(chunk.stored))
            packed = [size + more for size, more in zip(packed, chunk.packed_bytes, strict=True)]
            position = self._write(position, chunk.stored, exponent_hash)
        for chunk in sign_mantissas:
            # Only the last chunk of a run is not whole pages, so padding each is padding the run.
            position = self._write(position, chunk.stored, sign_mantissa_hash)
        hashes = (exponent_hash.intdigest(), sign_mantissa_hash.intdigest(), original.intdigest())
        blob = Blob(self.end, weights, tuple(sizes), tuple(packed), *hashes)
        self.end = position
        return blob

    def sync(self) -> None:
        os.fsync(self._fd)

    def _write(self, position: int, stored: bytes | bytearray, digest: xxh3_64) -> int:
        padding = bytes(padded(len(stored)) - len(stored))
        digest.update(stored)
        digest.update(padding)
        view = memoryview(stored + padding)
        while view:
            done = os.pwrite(self._fd, view, position)
            view, position = view[done:], position + done
        return position

    def _hash(self, offset: int, size: int) -> int:
        digest, end = xxh3_64(), offset + size
        while offset < end and (part := os.pread(self._fd, min(_HASHED_AT_ONCE, end - offset), offset)):
            digest.update(part)
            offset += len(part)
        return digest.intdigest()
