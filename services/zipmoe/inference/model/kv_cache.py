"""KVCache: keys and values of one sequence, all layers, allocated once at its full length."""

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class KVCache:
    """`length` tokens are filled. Keys and values lie by layer as the arithmetic that made them likes it."""

    capacity: int
    keys: Any
    values: Any
    length: int = 0

    def advance(self, tokens: int) -> None:
        """After all layers have been extended by `tokens`."""
        self.length += tokens
