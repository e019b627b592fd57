"""KVCache: keys and values of all sequences, in pages. Which pages are whose is for others to say."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Tokens of a page. A sequence wastes half a page; prompts share what fills whole ones.
PAGE: Final = 16


@dataclass(frozen=True, slots=True)
class KVCache:
    """BF16 words: keys [layers, pages · PAGE, heads · width], and values whose heads may have another width."""

    keys: NDArray[np.uint16]
    values: NDArray[np.uint16]

    @classmethod
    def of(cls, layers: int, key_width: int, value_width: int, pages: int) -> "KVCache":
        """Widths are of all heads together. Memory is taken as pages are first filled."""
        keys, values = (np.empty((layers, pages * PAGE, width), np.uint16) for width in (key_width, value_width))
        return cls(keys, values)


def pages_for(tokens: int) -> int:
    return -(-tokens // PAGE)
