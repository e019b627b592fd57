"""Admission: what a prompt that is admitted costs the sequences that are being decoded."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from zipmoe.routing.routing import Routing
from zipmoe.simulate.cache import Cache
from zipmoe.simulate.replay import WARM

# Tokens that a prompt goes through the layers with, and decode steps between two such chunks.
CHUNK: Final = 256
STEPS: Final = 4


@dataclass(frozen=True, slots=True)
class Admitted:
    """Experts that decoding missed in the same steps, with prompts and without."""

    missed: int
    undisturbed: int

    @property
    def degradation(self) -> float:
        return self.missed / self.undisturbed if self.undisturbed else float(self.missed > 0) + 1


def admit(routing: Routing, prompt: Routing, slots: int, every: int, *, guarded: bool = True) -> Admitted:
    """Decodes `routing`, and begins to admit the prompt every so many steps. Counted are the steps from the first of a
    prompt's chunks until STEPS after its last one."""
    chunks = np.array_split(prompt.numbered(), -(-prompt.tokens // CHUNK))
    assert every >= STEPS * len(chunks), "one prompt is through before the next one comes"
    cache, alone = (Cache(routing.layers, routing.experts, slots, guarded=guarded) for _ in range(2))
    missed = undisturbed = 0
    first = int(routing.tokens * WARM)
    for step, layers in enumerate(routing.numbered().tolist()):
        since = (step - first) % every
        if step >= first and since < STEPS * len(chunks) and since % STEPS == 0:
            _prefill(cache, chunks[since // STEPS])
        for each in (cache, alone):
            each.advance()
        for layer, wanted in enumerate(layers):
            lost, same = cache.decode(layer, wanted), alone.decode(layer, wanted)
            if step >= first and since < STEPS * len(chunks):
                missed += lost
                undisturbed += same
    return Admitted(missed, undisturbed)


def _prefill(cache: Cache, chunk: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> None:
    for layer in range(chunk.shape[1]):
        experts, tokens = np.unique(chunk[:, layer], return_counts=True)
        order = np.argsort(-tokens)
        cache.prefill(layer, dict(zip(experts[order].tolist(), tokens[order].astype(float).tolist(), strict=True)))
