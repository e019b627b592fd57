"""Budget: what of the one memory number is left for experts. Sizes in bytes."""

from dataclasses import dataclass

from zipmoe.errors import CacheExhausted

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Budget:
    """`processes` is what the services and their workers take for themselves, `sequences` the keys and values of those
    that are decoded, `tables` what of the arena is no slot."""

    memory: int
    processes: int
    dense: int
    sequences: int
    tables: int

    @property
    def fixed(self) -> int:
        return self.processes + self.dense + self.sequences + self.tables

    def slots(self, fewest: int) -> int:
        """Raises CacheExhausted, with the least memory that would do, if not even `fewest` bytes are left."""
        left = self.memory - self.fixed
        if left < fewest:
            raise CacheExhausted(
                f"{self.memory / MIB:.0f} MiB are too few for this model: its processes take "
                f"{self.processes / MIB:.0f} MiB, the weights that are no experts {self.dense / MIB:.0f}, keys and "
                f"values {self.sequences / MIB:.0f}, two experts {fewest / MIB:.0f}: ask for "
                f"{-(-self.floor(fewest) // MIB)} MiB or more (--memory)"
            )
        return left

    def floor(self, fewest: int) -> int:
        return self.fixed + fewest
