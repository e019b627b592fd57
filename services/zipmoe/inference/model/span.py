"""Span: some tokens of one sequence, that go through the model together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zipmoe.inference.model.kv_cache import PAGE, pages_for


@dataclass(frozen=True, slots=True)
class Span:
    """`tokens` [T] follow the `start` that the sequence has in the cache already; its `pages` have room for all of
    them. Logits are wanted of the `last` ones. `whole` is as many tokens as belong together, though they may come in
    pieces: the prompt's."""

    tokens: NDArray[np.int64]
    start: int
    pages: NDArray[np.int32]
    last: int = 1
    whole: int = 0

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """What its sequence's length counts as for each token [T]: that of the prompt, or up to what is written."""
        return np.maximum(np.arange(self.start + 1, self.end + 1), self.whole)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Of the cache, where the sequence's tokens lie, these included: [end]."""
        pages = self.pages[: pages_for(self.end)].astype(np.int64)
        return (pages[:, None] * PAGE + np.arange(PAGE)).reshape(-1)[: self.end]


@dataclass(frozen=True, slots=True)
class Group:
    """Spans whose rows are multiplied together, one behind the other: T tokens, their positions, and the lengths that
    their sequences count as."""

    spans: tuple[Span, ...]
    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, spans: Sequence[Span]) -> "Group":
        tokens = np.concatenate([span.tokens for span in spans])
        positions = np.concatenate([np.arange(span.start, span.end) for span in spans])
        lengths = np.concatenate([span.lengths for span in spans])
        return cls(tuple(spans), tokens, positions, lengths)

    @property
    def borders(self) -> list[int]:
        """Between the spans' wanted rows."""
        ends: list[int] = np.cumsum([span.last for span in self.spans])[:-1].tolist()
        return ends

    @property
    def wanted(self) -> NDArray[np.int64]:
        """The rows whose logits are wanted."""
        ends = np.cumsum([len(span.tokens) for span in self.spans])
        return np.concatenate([np.arange(end - span.last, end) for span, end in zip(self.spans, ends, strict=True)])
