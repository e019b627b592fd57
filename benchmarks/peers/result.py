"""Result: what was found in one case, kept in a file, and the figures that come of it."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.peers.roofline import Roofline, Sizes

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """Times in seconds, sizes in bytes, rates in bytes/s. `first_cold` and `first_warm` are from a contestant's start
    to its first token. `failure` says why phases are missing. `uses` are those of experts that a token makes."""

    case: str
    contestant: str
    limit: str
    limit_bytes: int | None
    about: str
    phases: dict[str, dict[str, Any]]
    failure: str
    first_cold: float | None
    first_warm: float | None
    peak: int
    met: int
    disk_rate: float
    memory_rate: float
    uses: int
    sizes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> Self | None:
        return cls(**json.loads(file.read_text())) if file.exists() else None

    def keep(self, file: Path) -> None:
        """Whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        new.rename(file)

    def steps(self, batch: int = 1) -> list[float]:
        found: list[float] = self.phases.get(f"decode-{batch}", {}).get("seconds", [])
        return found

    @property
    def tpot(self) -> float | None:
        steps = self.steps()
        return statistics.median(steps) if steps else None

    @property
    def p95(self) -> float | None:
        steps = sorted(self.steps())
        return steps[min(len(steps) - 1, int(0.95 * len(steps)))] if steps else None

    def ttft(self, prompt: int) -> float | None:
        times = self.phases.get(f"ttft-{prompt}", {}).get("seconds")
        return statistics.median(times) if times else None

    def rate(self, batch: int) -> float | None:
        """Tokens per second of all sequences together."""
        steps = self.steps(batch)
        return batch * len(steps) / sum(steps) if steps else None

    def a_token(self, what: str, batch: int = 1) -> float | None:
        """`bytes_read` or `cpu`."""
        steps = self.steps(batch)
        return float(self.phases[f"decode-{batch}"][what]) / (batch * len(steps)) if steps else None

    @property
    def hits(self) -> dict[str, float] | None:
        """Shares of the uses of experts: found as words, found packed, absent. None where nobody knows."""
        counts = self.phases.get("decode-1", {}).get("counts")
        total = sum(counts.values()) if counts else 0
        return {name: count / total for name, count in counts.items()} if counts and total else None

    @property
    def roofline(self) -> Roofline | None:
        """Of one sequence."""
        steps, read = self.steps(), self.a_token("bytes_read")
        if read is None:
            return None
        counts = self.phases["decode-1"]["counts"] or {"words": self.uses * len(steps)}
        multiplied = Sizes(**self.sizes).multiplied(counts, len(steps))
        return Roofline(read / self.disk_rate, multiplied / self.memory_rate)

    @property
    def distance(self) -> float | None:
        """The mean time of a step over what its bytes permit; bytes are a mean, too."""
        steps, roofline = self.steps(), self.roofline
        return statistics.fmean(steps) / roofline.seconds if roofline else None
