"""Watched: walks over experts that count where each was found, and can unpack what is packed before it is used."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from zipmoe import kernels
from zipmoe.arena.arena import Arena
from zipmoe.inference.experts import Experts, Found
from zipmoe.inference.model.arithmetic import Integers
from zipmoe.inference.model.weight import ExpertWeights, PackedExpert, PlainExpert
from zipmoe.inference.scheduler_client import SchedulerClient


class Scratch:
    """Memory for a few experts as BF16."""

    def __init__(self, weights: int, hidden: int, experts: int, threads: int) -> None:
        inner, dtype = weights // (3 * hidden), torch.bfloat16
        self._threads = threads
        self._plain = [
            PlainExpert(torch.empty(2 * inner, hidden, dtype=dtype), torch.empty(hidden, inner, dtype=dtype))
            for _ in range(experts)
        ]

    def words(self, place: int, weights: ExpertWeights) -> PlainExpert:
        """The expert as BF16, in this place if it is not so already."""
        if isinstance(weights, PlainExpert):
            return weights
        plain = self._plain[place]
        kernels.unpack(weights.gate_up, plain.gate_up, self._threads)
        kernels.unpack(weights.down, plain.down, self._threads)
        return plain


class Watched(Experts):
    def __init__(self, arena: Arena, hidden: int, client: SchedulerClient, scratch: Scratch | None) -> None:
        super().__init__(arena, hidden, client)
        self.counted = {"words": 0, "packed": 0, "absent": 0}
        self._scratch = scratch

    @contextmanager
    def whole(self, layer: int, chosen: Integers) -> Iterator[None]:
        """Never: what is watched is walks."""
        del layer, chosen
        yield None

    def walk(self, layer: int, needed: Mapping[int, float], decoded: Collection[int]) -> Iterator[Sequence[Found]]:
        for found in super().walk(layer, needed, decoded):
            for number, weights in found:
                state = "packed" if isinstance(weights, PackedExpert) else "words"
                self.counted["absent" if number in self.read else state] += 1
            if self._scratch is None:
                yield found
            else:
                yield [(each[0], self._scratch.words(place, each[1])) for place, each in enumerate(found)]
