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


class Act(IntEnum):
    LOAD = 1  # from disk, the parts that are placed: words, or planes
    RECOVER = 2  # words from both planes, in memory
    REDUCE = 3  # both planes from words, in memory


@dataclass(frozen=True, slots=True)
class Task:
    """What to do with the expert that `blob` describes (a Blob as plain lists). Its parts lie, or shall lie, at these
    bytes of the arena, 0 for those that are not meant; exponents in codes of so many `bits`."""

    act: Act
    words: int
    sign_mantissas: int
    exponents: int
    bits: int
    blob: list[Any]

    def to_bytes(self) -> bytes:
        places = (self.words, self.sign_mantissas, self.exponents)
        return bytes(msgpack.packb((self.act, *places, self.bits, self.blob)))

    @classmethod
    def from_bytes(cls, message: bytes) -> Self:
        act, *rest = msgpack.unpackb(message)
        return cls(Act(act), *rest)


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
