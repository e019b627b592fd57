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
    """All of a model. First we and llama.cpp in turn, side by side under each limit, for what a machine gives changes
    within minutes; then those together that need the same files. With a `ladder`, every step from ours to raw slots;
    without, the first and the last."""
    steps = list(STEPS)[-2::-1] if ladder else [RAW]
    return [
        *(Case(model, name, limit) for limit in LIMITS for name in (OURS, LLAMACPP)),
        *(Case(model, name, limit) for name in steps for limit in LIMITED),
        *(Case(model, ACCELERATE, limit) for limit in LIMITS),
    ]
