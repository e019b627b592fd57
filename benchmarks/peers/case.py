"""Case: one contestant with one model under one memory limit. Pure."""

from dataclasses import dataclass
from typing import Final

from benchmarks.peers.ablation import OURS, RAW, STEPS

LLAMACPP: Final = "llamacpp"
ACCELERATE: Final = "accelerate"
# Of the checkpoint's bytes, in percent.
LIMITED: Final = ("40", "60", "80")
NONE: Final = "none"
LIMITS: Final = (*LIMITED, NONE)


@dataclass(frozen=True, slots=True)
class Case:
    model: str
    contestant: str
    limit: str

    @property
    def name(self) -> str:
        return f"{self.model}.{self.contestant}.{self.limit}"

    def bytes(self, checkpoint: int) -> int | None:
        return None if self.limit == NONE else checkpoint * int(self.limit) // 100


def cases(model: str, ladder: bool) -> list[Case]:
    """All of a model, those that need the same files together. With a `ladder`, every step from raw slots to ours;
    without, its first and its last."""
    steps = list(STEPS)[::-1] if ladder else [OURS, RAW]
    found = [Case(model, name, limit) for name in steps for limit in (LIMITS if name == OURS else LIMITED)]
    return [*found, *(Case(model, peer, limit) for peer in (LLAMACPP, ACCELERATE) for limit in LIMITS)]
