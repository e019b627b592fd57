"""Report: the figures of a run, from the results of its cases. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.ablation import OURS, RAW
from benchmarks.peers.case import ACCELERATE, LIMITED, LIMITS, LLAMACPP
from benchmarks.peers.extent import BATCHES, PROMPTS
from benchmarks.peers.result import Result

Results = Mapping[tuple[str, str], Result]  # by contestant and limit


def by_place(results: Sequence[Result]) -> Results:
    return {(result.contestant, result.limit): result for result in results}


def ratios(found: Results) -> dict[str, Any]:
    """Ours against others: how many times as fast. None where one of the two could not run."""

    def tpot(other: str, limit: str) -> float | None:
        return over(_tpot(found, other, limit), _tpot(found, OURS, limit))

    peaks = [over(one.peak, one.limit_bytes) for (who, _), one in found.items() if who == OURS and one.limit_bytes]
    firsts = [one.ttft(256) if (one := found.get((who, "40"))) else None for who in (LLAMACPP, OURS)]
    return {
        "tpot_vs_llamacpp": {limit: tpot(LLAMACPP, limit) for limit in LIMITS},
        "tpot_vs_raw_lru": {limit: tpot(RAW, limit) for limit in LIMITED},
        "tpot_vs_accelerate_60": tpot(ACCELERATE, "60"),
        "ttft256_vs_llamacpp_40": over(*firsts),
        "peak_memory_vs_declared": max((peak for peak in peaks if peak), default=None),
        "roofline": {limit: rounded(_distance(found, limit)) for limit in ("60", "none")},
    }


def over(one: float | None, other: float | None) -> float | None:
    return rounded(one / other) if one and other else None


def rounded(value: float | None, digits: int = 4) -> float | None:
    """To so many figures that count."""
    return None if value is None else float(f"{value:.{digits}g}")


def figures(result: Result) -> dict[str, Any]:
    """Of one case, as they are recorded."""
    roofline = result.roofline
    return {
        "tpot": rounded(result.tpot),
        "tpot_p95": rounded(result.p95),
        "timed_tokens": len(result.steps()),
        "warm_tokens": result.phases.get("decode-1", {}).get("warm"),
        "ttft": {str(prompt): rounded(result.ttft(prompt)) for prompt in PROMPTS},
        "tokens_per_second": {str(batch): rounded(result.rate(batch)) for batch in BATCHES},
        "bytes_read_per_token": rounded(result.a_token("bytes_read")),
        "cpu_seconds_per_token": rounded(result.a_token("cpu")),
        "uses": {name: rounded(share, 3) for name, share in (result.hits or {}).items()} or None,
        "start_to_first_token": {"cold": rounded(result.first_cold), "warm": rounded(result.first_warm)},
        "peak_memory": result.peak,
        "memory_limit": result.limit_bytes,
        "limit_met": result.met,
        "roofline": roofline and {"limit": roofline.limit, "seconds": rounded(roofline.seconds)},
        "distance_to_roofline": rounded(result.distance),
        "disk_rate": rounded(result.disk_rate),
        "memory_rate": rounded(result.memory_rate),
        "failure": result.failure or None,
        "about": result.about,
    }


def _tpot(found: Results, who: str, limit: str) -> float | None:
    return one.tpot if (one := found.get((who, limit))) else None


def _distance(found: Results, limit: str) -> float | None:
    return one.distance if (one := found.get((OURS, limit))) else None
