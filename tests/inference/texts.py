"""Texts: sequences that are run without an engine, in a cache of their own, their pages in no order."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from zipmoe.inference.model.decoder import Decoder
from zipmoe.inference.model.kv_cache import pages_for
from zipmoe.inference.model.mixture import Mixture
from zipmoe.inference.model.span import Span


class Texts:
    """So many sequences, that go through the model together."""

    def __init__(self, model: Decoder, capacities: Sequence[int]) -> None:
        """Tokens that each may have."""
        counts = [pages_for(capacity) for capacity in capacities]
        self._model = model
        self._cache = model.cache(sum(counts) + 1)
        shuffled = np.random.default_rng(len(counts)).permutation(sum(counts) + 1).astype(np.int32)
        self._pages = np.split(shuffled[: sum(counts)], np.cumsum(counts)[:-1])
        self.lengths = [0] * len(counts)

    def forward(self, tokens: Sequence[Tensor], mixture: Mixture, last: Sequence[int]) -> list[Tensor]:
        """The next tokens [T] of each: its logits [last, vocabulary]."""
        each = zip(tokens, self.lengths, self._pages, last, strict=True)
        spans = [
            Span(some.numpy(), length, pages, wanted, whole=length + len(some)) for some, length, pages, wanted in each
        ]
        logits = self._model.forward(spans, self._cache, mixture)
        self.lengths = [length + len(some) for length, some in zip(self.lengths, tokens, strict=True)]
        return logits


class Lone:
    """One sequence alone."""

    def __init__(self, model: Decoder, capacity: int) -> None:
        self._texts = Texts(model, [capacity])

    def forward(self, tokens: Tensor, mixture: Mixture, last: int = 1) -> Tensor:
        """Its next tokens [T]: logits [last, vocabulary]."""
        (logits,) = self._texts.forward([tokens], mixture, [last])
        return logits
