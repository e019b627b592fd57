"""Tasks and outcomes: what the store and its worker processes say to each other, one message each over their pipe."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

import msgpack


class Urgency(IntEnum):
    """The lower starts first."""

    DEMAND = 1
    FORECAST = 2
    KEEP = 3


@dataclass(frozen=True, slots=True)
class Task:
    """Bring the expert that `blob` describes (a Blob as plain lists) to the slot at these bytes of the arena, there to
    lie packed in codes of so many `bits` or, if 0, as BF16."""

    offset: int
    length: int
    bits: int
    blob: list[Any]

    def to_bytes(self) -> bytes:
        return bytes(msgpack.packb((self.offset, self.length, self.bits, self.blob)))

    @classmethod
    def from_bytes(cls, message: bytes) -> Self:
        return cls(*msgpack.unpackb(message))


class Result(IntEnum):
    LOADED = 1
    DROPPED = 2
    CORRUPT = 3
    LOST = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task: bytes read from disk, nanoseconds of reading and of decoding."""

    result: Result
    detail: str = ""
    bytes_read: int = 0
    read_nanoseconds: int = 0
    decode_nanoseconds: int = 0

    def to_bytes(self) -> bytes:
        return bytes(
            msgpack.packb((self.result, self.detail, self.bytes_read, self.read_nanoseconds, self.decode_nanoseconds))
        )

    @classmethod
    def from_bytes(cls, message: bytes) -> Self:
        result, *rest = msgpack.unpackb(message)
        return cls(Result(result), *rest)
