"""Rates: what this device does with this pack, as `profile` has measured it. The planner computes from nothing else."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Rates:
    """All are positive.

    disk         readers at once -> bytes/s that they get together, reading whole experts past the page cache: one
                 while all else rests, several while all cores are busy
    seek         seconds that reading 4 KiB takes, past the page cache
    decode       codec -> workers at once -> weights/s that they decode together, from stored bytes in memory to the
                 form that is multiplied, hashes checked. What is stored in pack3 or pack4 stays so; everything else
                 comes into the smallest form
    multiply     form (bf16, pack3, pack4) -> rows -> seconds for one expert, by all threads, from memory and not from
                 the processor's cache, with what a walk does around it
    acquire      seconds that a missing expert costs beside reading and decoding it: two calls and the worker's pipe
    acquire_cpu  seconds of processor time, of all processes together, for the same
    lease        seconds to take a lease and drop it
    """

    disk: Mapping[int, float]
    seek: float
    decode: Mapping[str, Mapping[int, float]]
    multiply: Mapping[str, Mapping[int, float]]
    acquire: float
    acquire_cpu: float
    lease: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, for json or msgpack."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Any) -> Self:
        """The inverse of `to_json`, also where json has made strings of the numbers that are keys. ValueError if that
        cannot be rates."""
        try:
            return cls(
                disk=_curve(plain["disk"]),
                seek=_number(plain["seek"]),
                decode=_curves(plain["decode"]),
                multiply=_curves(plain["multiply"]),
                acquire=_number(plain["acquire"]),
                acquire_cpu=_number(plain["acquire_cpu"]),
                lease=_number(plain["lease"]),
            )
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"not rates: {error!r}") from None


def _curves(plain: Any) -> dict[str, dict[int, float]]:
    return {str(name): _curve(curve) for name, curve in _some(plain).items()}


def _curve(plain: Any) -> dict[int, float]:
    return {int(at): _number(value) for at, value in _some(plain).items()}


def _some(plain: Any) -> Any:
    if not plain:
        raise ValueError("a table is empty")
    return plain


def _number(plain: Any) -> float:
    if type(plain) not in (int, float) or not 0 < plain < math.inf:
        raise ValueError(f"{plain!r} should be a positive number")
    return float(plain)
