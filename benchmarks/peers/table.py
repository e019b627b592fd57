"""Table: results as a person reads them. Pure but for the lines that it yields."""

from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.peers.ablation import OURS, WORDS
from benchmarks.peers.case import LIMITS, NONE
from benchmarks.peers.extent import BATCHES, PROMPTS
from benchmarks.peers.result import MIB, Result

HEAD: Final = (
    f"{'':11}{'limit':>6} {'TPOT ms':>9} {'p95':>7}  {'TTFT s 16':>9} {'256':>6}  {'tok/s 1':>8} {'4':>6} {'16':>6}  "
    f"{'MiB/tok':>8} {'hits':>5}  {'peak MiB':>8} {'CPU ms':>7}  {'start cold':>10} {'warm':>6}  roofline"
)


def lines(results: Sequence[Result]) -> Iterator[str]:
    yield HEAD
    for limit in LIMITS:
        for result in sorted((one for one in results if one.limit == limit), key=_place):
            yield line(result)


def line(result: Result) -> str:
    hits = result.hits
    roofline = f"{result.distance:.2f}x {result.roofline.limit}" if result.distance and result.roofline else ""
    bytes_, cpu = result.a_token("bytes_read"), result.a_token("cpu")
    cells = [
        f"{'ZipMoE' if result.contestant == OURS else result.contestant:11}{_limit(result.limit):>6}",
        f"{_ms(result.tpot, 9)} {_ms(result.p95, 7)} ",
        " ".join(_number(result.ttft(prompt), width, 2) for prompt, width in zip(PROMPTS, (9, 6), strict=True)) + " ",
        " ".join(_number(result.rate(batch), width, 1) for batch, width in zip(BATCHES, (8, 6, 6), strict=True)) + " ",
        f"{_number(bytes_ and bytes_ / MIB, 8, 1)} {'-' if hits is None else format(1 - hits['absent'], '.0%'):>5} ",
        f"{result.peak / MIB:8.0f} {_ms(cpu, 7)} ",
        f"{_number(result.first_cold, 10, 1)} {_number(result.first_warm, 6, 1)} ",
        roofline,
    ]
    failed = f"   {result.failure}" if result.failure else ""
    return " ".join(cells).rstrip() + failed


def ladder(results: Sequence[Result]) -> Iterator[str]:
    """What each mechanism adds: TPOT and bytes a token under each limit."""
    limits = [limit for limit in LIMITS if limit != NONE]
    yield f"{'':28}" + "".join(f"{limit + ' %: ms':>14} {'MiB/tok':>8}" for limit in limits)
    found = {(one.contestant, one.limit): one for one in results}
    for name, words in WORDS.items():
        cells = []
        for limit in limits:
            one = found.get((name, limit))
            bytes_ = one.a_token("bytes_read") if one else None
            cells.append(f"{_ms(one.tpot if one else None, 14)} {_number(bytes_ and bytes_ / MIB, 8, 1)}")
        yield f"{words:28}" + "".join(cells)


def _place(result: Result) -> tuple[bool, str]:
    return result.contestant != OURS, result.contestant


def _limit(limit: str) -> str:
    return limit if limit == NONE else f"{limit} %"


def _ms(seconds: float | None, width: int) -> str:
    return _number(seconds and seconds * 1e3, width, 1)


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'-' if value is None else f'{value:.{digits}f}':>{width}}"
