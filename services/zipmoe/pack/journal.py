"""Journal: what an unfinished pack already holds. One msgpack record for the job, then one a finished blob.

It is only a claim: after a power cut the blobs that it names may not have reached the disk, so they are hashed again.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgpack

from zipmoe.errors import InvalidRequest
from zipmoe.pack.blob import Blob

JOURNAL = "journal"


class Journal:
    """Holds the partial folder for itself while it lives: InvalidRequest if another process packs into it, or if the
    folder was begun for another `job` (any plain values that name source and codec)."""

    def __init__(self, folder: Path, job: list[Any]) -> None:
        self._file = (folder / JOURNAL).open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            self._records = msgpack.Unpacker(self._file, max_buffer_size=1 << 30)
            begun = self._next()
            if begun not in (None, job):
                raise InvalidRequest(
                    f"{folder} was begun from another checkpoint or for another codec: remove that folder, or pack to "
                    "another destination"
                )
        except BlockingIOError:
            self._file.close()
            raise InvalidRequest(f"another process is packing into {folder}: wait for it") from None
        except InvalidRequest:
            self._file.close()
            raise
        if begun is None:  # new, or cut off in its first record
            self._file.truncate(0)
            self._write(job)
            self._records = msgpack.Unpacker()
        self._end = self._records.tell() if begun else os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def finished(self) -> Iterator[tuple[str, Blob]]:
        """(name, blob) of the finished ones, up to a record that was cut off or is none. A record counts as kept when
        the next one is asked for."""
        while (record := self._next()) is not None:
            try:
                name, wire = record
                blob = Blob.from_wire(wire)
            except (TypeError, ValueError):
                return
            yield name, blob
            self._end = self._records.tell()

    def keep(self) -> None:
        """Drop every record behind the last kept one. From here on, `append`."""
        self._file.truncate(self._end)

    def append(self, name: str, blob: Blob) -> None:
        self._write([name, blob.to_wire()])

    def _next(self) -> Any:
        try:
            return self._records.unpack()
        except (msgpack.OutOfData, ValueError):
            return None

    def _write(self, record: list[Any]) -> None:
        view = memoryview(msgpack.packb(record))
        while view:
            view = view[self._file.write(view) :]
