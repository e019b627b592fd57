"""Record: the routing of the last tokens that a model decoded, in a small file that is written as it serves.

    page 0     header: what it is of, and how many rows were ever written
    rows       a ring of CAPACITY, a token each: its experts in every layer, two bytes each

One writer, inference; a reader takes what it finds. A row is written before it is counted, so a writer that is killed
loses the token it was at. It stays when the services stop: the next start plans from it.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zipmoe.errors import InvalidRequest
from zipmoe.routing.routing import Routing

PAGE: Final = 4096
# Enough tokens to know a layer's ranks to a few percent; of OLMoE-1B-7B they take 1 MiB.
CAPACITY: Final = 4096
# Fewer say more about their one text than about the model.
FEWEST: Final = 256

_HEADER: Final = struct.Struct("<8sIIII32s")
_COUNT: Final = struct.Struct("<Q")
_COUNT_AT: Final = 64
_MAGIC: Final = b"ZIPMOE\0R"


class Record:
    """Opens the file at `path`, and begins anew where it is missing or is another model's."""

    def __init__(self, path: Path, fingerprint: str, layers: int, experts: int, k: int) -> None:
        head = _HEADER.pack(_MAGIC, layers, experts, k, CAPACITY, fingerprint.encode())
        size = PAGE + CAPACITY * layers * k * 2
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if os.pread(descriptor, len(head), 0) != head or os.fstat(descriptor).st_size != size:
                os.ftruncate(descriptor, 0)
                os.posix_fallocate(descriptor, 0, size)
                os.pwrite(descriptor, head, 0)
            self._memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._rows = np.frombuffer(self._memory, np.uint16, offset=PAGE).reshape(CAPACITY, layers, k)
        (self._count,) = _COUNT.unpack_from(self._memory, _COUNT_AT)

    def put(self, layer: int, experts: NDArray[np.int64]) -> None:
        """The experts [k] of the present token in this layer."""
        self._rows[self._count % CAPACITY, layer] = experts

    def advance(self) -> None:
        """The present token has been through all layers."""
        self._count += 1
        _COUNT.pack_into(self._memory, _COUNT_AT, self._count)

    @classmethod
    def read(cls, path: Path, fingerprint: str) -> Routing | None:
        """The tokens in order, the oldest first; None if there are fewer than FEWEST of this model."""
        try:
            data = path.read_bytes()
            magic, layers, experts, k, capacity, whose = _HEADER.unpack_from(data)
            (count,) = _COUNT.unpack_from(data, _COUNT_AT)
            rows = np.frombuffer(data, np.uint16, offset=PAGE).reshape(capacity, layers, k)
        except (OSError, struct.error, ValueError):
            return None
        known = min(count, capacity)
        if (magic, whose.rstrip(b"\0").decode()) != (_MAGIC, fingerprint) or known < FEWEST or rows.max() >= experts:
            return None
        return Routing(
            experts, np.roll(rows, -(count % capacity) if count > capacity else 0, 0)[:known].astype(np.int64)
        )


def must_read(path: Path, fingerprint: str) -> Routing:
    """The same, where a person has asked for it."""
    routing = Record.read(path, fingerprint)
    if routing is None:
        raise InvalidRequest(f"{path} holds no routing of this model: let it decode {FEWEST} tokens or more first")
    return routing
