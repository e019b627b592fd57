"""Cost: how long a layer takes, known what it found resident. From measured rates alone.

What is resident is multiplied at once. Meanwhile the missing experts are asked for, and the store's workers bring them:
each reads one from the disk, which they share, and then decodes it. An expert is multiplied when it is there and none
before it is being multiplied. Multiplying, decoding and asking share the cores; reading does not need them.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from zipmoe.arena.layout import round_up
from zipmoe.plan.model import Model
from zipmoe.plan.rates import Rates

_NOTHING: Final = 1e-12

# How many tokens of a step an expert has that is wanted, and the share of those wanted that have so many.
Rows: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """Of the experts that a layer wants: as words, packed, without exponents, without sign-mantissas, and absent."""

    full: int = 0
    compressed: int = 0
    sign_mantissas: int = 0
    exponents: int = 0
    absent: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    rates: Rates
    workers: int
    cores: int


@dataclass(slots=True, eq=False)
class _Load:
    """Bytes that are still to be read, then seconds of a core that are still to be decoded."""

    read: float
    decode: float


def bytes_read(found: Found, model: Model) -> int:
    plane = round_up(model.weights)
    return found.absent * model.read + found.sign_mantissas * model.stored + found.exponents * plane


def layer_seconds(found: Found, rows: Rows, model: Model, device: Device) -> float:
    """Of one layer's experts, those wanted."""
    rates = device.rates
    words = _multiply(rates, "bf16", rows)
    # An arena for words alone has them restored as such.
    packed = _multiply(rates, model.form, rows) if model.form in rates.multiply else words
    here = found.full * words + found.compressed * packed
    loads = _loads(found, model, rates)
    if not loads:
        return here
    cpu = sum(load.decode for load in loads)
    # Meanwhile asking and multiplying take each other's cores.
    finish, asked = here, rates.acquire + min(here, rates.acquire_cpu / device.cores)
    for arrived in _arrivals(loads, device):
        finish = max(finish, asked + arrived) + packed
    return max(finish, here + len(loads) * packed + (cpu + rates.acquire_cpu) / device.cores)


def at(curve: Mapping[int, float], x: float) -> float:
    """The curve's value at x, between its points on a straight line, outside of them the last one's."""
    points = sorted(curve)
    above = bisect_left(points, x)
    if above == 0:
        return curve[points[0]]
    if above == len(points):
        return curve[points[-1]] * (x / points[-1] if len(points) > 1 and curve[points[-1]] > curve[points[0]] else 1)
    low, high = points[above - 1], points[above]
    return curve[low] + (curve[high] - curve[low]) * (x - low) / (high - low)


def _multiply(rates: Rates, form: str, rows: Rows) -> float:
    """Of one expert. A mean of rows would not do: two rows cost little more than one, and from there on each as
    much."""
    return sum(share * at(rates.multiply[form], tokens) for tokens, share in rows)


def _loads(found: Found, model: Model, rates: Rates) -> list[_Load]:
    # Packed forms are stored as they are kept, so decoding them is hashing their bytes.
    hashing = 1 / (at(rates.decode["pack3"], 1) * 1.4)
    decoding = max(0.0, model.weights / at(rates.decode[model.codec], 1) - hashing * model.read)
    plane = round_up(model.weights)
    whole = _Load(model.read, hashing * model.read + decoding)
    half = _Load(model.stored, hashing * model.stored + decoding)
    rest = _Load(plane, hashing * plane)
    kinds = ((whole, found.absent), (half, found.sign_mantissas), (rest, found.exponents))
    return [_Load(kind.read, kind.decode) for kind, count in kinds for _ in range(count)]


def _arrivals(loads: list[_Load], device: Device) -> list[float]:
    """When each is there, in seconds, the workers taking them in their order."""
    waiting, busy, now, arrived = list(reversed(loads)), list[_Load](), 0.0, list[float]()
    while waiting or busy:
        while waiting and len(busy) < device.workers:
            busy.append(waiting.pop())
        readers = sum(load.read > 0 for load in busy)
        rate = at(device.rates.disk, readers) / readers if readers else 0.0
        step = min(load.read / rate if load.read > 0 else load.decode for load in busy)
        now += step
        for load in busy:
            if load.read > 0:
                load.read = load.read - rate * step if load.read > rate * step * (1 + _NOTHING) else 0.0
            else:
                load.decode -= step
        done = [load for load in busy if load.read <= 0 and load.decode <= _NOTHING]
        arrived += [now] * len(done)
        busy = [load for load in busy if load not in done]
    return arrived
