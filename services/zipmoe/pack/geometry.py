"""Geometry: the sizes of a model's experts."""

from dataclasses import dataclass

from zipmoe.pack.blob import slot_bytes


@dataclass(frozen=True, slots=True)
class Geometry:
    """`layers` x `experts` of gate and up [intermediate, hidden] and down [hidden, intermediate], all BF16. `sparse`
    are those layers' numbers among all of the model: some may have no experts, and are not counted here."""

    family: str
    sparse: tuple[int, ...]
    experts: int
    hidden: int
    intermediate: int

    @property
    def layers(self) -> int:
        """With experts."""
        return len(self.sparse)

    @property
    def weights(self) -> int:
        """BF16 words of one expert."""
        return 3 * self.hidden * self.intermediate

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one restored expert needs."""
        return slot_bytes(self.weights)
