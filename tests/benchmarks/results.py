"""Results as a contestant might have had them."""

from collections.abc import Mapping, Sequence

from benchmarks.peers.ablation import OURS
from benchmarks.peers.result import Result


def result(
    seconds: Sequence[float] = (),
    contestant: str = OURS,
    limit: str = "60",
    counts: Mapping[str, int] | None = None,
    bytes_read: int = 0,
    peak: int = 0,
    failure: str = "",
    ttft: float | None = None,
) -> Result:
    """Decoded one sequence in steps of so many seconds, by two uses of experts a step."""
    decode = {"seconds": list(seconds), "warm": 4, "bytes_read": bytes_read, "cpu": 1.0, "counts": dict(counts or {})}
    phases = {"decode-1": decode} if seconds else {}
    return Result(
        case=f"model.{contestant}.{limit}",
        contestant=contestant,
        limit=limit,
        limit_bytes=None if limit == "none" else 1000,
        about="",
        phases=phases | ({"ttft-256": {"seconds": [ttft]}} if ttft else {}),
        failure=failure,
        first_cold=None,
        first_warm=None,
        peak=peak,
        met=0,
        disk_rate=100.0,
        memory_rate=1000.0,
        uses=2,
        sizes={"words": 100, "packed": 70, "dense": 50},
    )
