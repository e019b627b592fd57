"""Lone: a sequence that has a cache to itself, its pages in no order."""

import numpy as np
from torch import Tensor

from zipmoe.inference.model.decoder import Decoder
from zipmoe.inference.model.kv_cache import KVCache, pages_for
from zipmoe.inference.model.mixture import Mixture
from zipmoe.inference.model.span import Span


class Lone:
    def __init__(self, model: Decoder, capacity: int) -> None:
        """For so many tokens."""
        count = pages_for(capacity)
        self.cache: KVCache = model.cache(count + 1)
        self.length = 0
        self._model = model
        self._pages = np.random.default_rng(capacity).permutation(count + 1)[:count].astype(np.int32)

    def forward(self, tokens: Tensor, mixture: Mixture, last: int = 1) -> Tensor:
        """Its next tokens [T]: logits [last, vocabulary]."""
        span = Span(tokens.numpy(), self.length, self._pages, last)
        (logits,) = self._model.forward([span], self.cache, mixture)
        self.length += len(tokens)
        return logits
