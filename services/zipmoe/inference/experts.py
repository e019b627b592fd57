"""Experts: walks over the experts that a layer needs, where they lie in the arena.

What is resident is leased and yielded at once, without a call; what is missing is asked for in one call before the
first is yielded, and yielded as it arrives. A few that are at hand are yielded together; all of them, where none is
missing and no prompt is in the step. A lease lasts while its expert is being multiplied with, no longer, so an arena of
few slots only makes the walk slower. What later layers are expected to want and is missing is named behind that, and
nobody waits for it.

A layer all of whose experts are resident needs no walk, but one lease.

Everything here runs on the compute thread, except `resume` and `interrupt`.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final

import numpy as np

from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory
from zipmoe.arena.leases import Leases
from zipmoe.arena.use_counter import UseCounter
from zipmoe.errors import ServiceRestarting
from zipmoe.inference.acquisition import Acquisition, Arrived
from zipmoe.inference.foresight import Foresight
from zipmoe.inference.model.arithmetic import Integers
from zipmoe.inference.model.weight import ExpertWeights, PackedExpert
from zipmoe.inference.scheduler_client import Forecast, SchedulerClient
from zipmoe.inference.views import Views

# An expert of the layer, by its number there, and its weights.
Found = tuple[int, ExpertWeights]

# Leased and multiplied with at once, beside a prompt or while others come: as many as a token needs. More would hold
# slots that those who come wait for, and the rows of a prompt take memory.
MOST_TOGETHER: Final = 8


class Interrupted(ServiceRestarting):
    """Nobody wants the result of this step any more."""


class Experts:
    def __init__(self, arena: Arena, hidden: int, client: SchedulerClient) -> None:
        """To be made on the event loop that the client's calls shall run on."""
        header = arena.header
        self.header = header
        # Calls made to the scheduler.
        self.calls = 0
        # The last walk's: by expert of its layer that was absent, the bytes read for it.
        self.read: dict[int, int] = {}
        self.use = UseCounter(arena.writable(header.use_offset, header.use_bytes), header, start=header.use_offset)
        self._directory = Directory(arena.memory, header)
        self._leases = Leases(arena.path)
        self._views = Views(arena, self._directory, hidden)
        # Chosen of whole layers, by their numbers through all of them, and not counted yet.
        self._chosen: list[Integers] = []
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._acquisitions: list[Acquisition] = []
        self._arrived: Arrived = SimpleQueue()
        self._foresight = Foresight(client, self._loop)
        self._expected: list[int] = []
        self._interrupted = False

    def resume(self) -> None:
        """Event loop, while the compute thread is idle: walks may go on."""
        self._interrupted = False

    def interrupt(self) -> None:
        """Event loop: walks end with Interrupted before their next experts, until `resume`."""
        self._interrupted = True
        self._arrived.put(Interrupted("the request was cancelled"))

    def expect(self, layer: int, later: Sequence[Sequence[int]]) -> None:
        """The next layers, nearest first, will probably want these: the walk over this layer names those that are
        absent to the scheduler."""
        first, ready = (layer + 1) * self.header.experts, self._directory.ready
        numbers = [first + ahead * self.header.experts + each for ahead, wanted in enumerate(later) for each in wanted]
        self._expected = [number for number in numbers if not ready(number)]

    @contextmanager
    def whole(self, layer: int, chosen: Integers) -> Iterator[Sequence[PackedExpert] | None]:
        """All the experts of a layer, of which tokens that are decoded have `chosen` some; valid in the body. None if
        any is absent, or not packed: then there has to be a walk. Raises Interrupted if told."""
        self._check_interrupted()
        first, count = layer * self.header.experts, self.header.experts
        weights = self._views.layer(layer) if self._leases.lease(first, count) else None
        try:
            if weights is not None:
                self.read = {}
                self._chosen.append(first + chosen)
                if self._expected:
                    self._forecast(layer, decoding=True, demanding=False)
            yield weights
        finally:
            self._leases.release(first, count)

    def count(self) -> None:
        """Counts the uses of whole layers. To be called when a step ends: one by one, layers would take longer."""
        if self._chosen:
            self.use.decoded(np.unique(np.concatenate([chosen.reshape(-1) for chosen in self._chosen])))
            self._chosen = []

    def walk(self, layer: int, needed: Mapping[int, float], decoded: Collection[int]) -> Iterator[Sequence[Found]]:
        """Yields every needed expert of the layer with its weights, a few at a time, in the order in which they can be
        had.

        `needed` has the gate weight that the step's tokens give each expert, most wanted first; those `decoded` are
        wanted by a token that is decoded, the others by prompts alone. The weights are valid until the next ones are
        asked for. Raises CorruptExpert, CacheExhausted or ServiceRestarting; Interrupted if told.
        """
        first = layer * self.header.experts
        numbers = {first + expert: weight for expert, weight in needed.items()}
        prefilled = frozenset(first + expert for expert in needed if expert not in decoded)
        here, missing = list[int](), list[int]()
        for number in numbers:
            (here if self._directory.ready(number) else missing).append(number)
        self.read = {}
        while here or missing:
            if missing:
                self._acquire(missing, here, prefilled)
            if self._expected:
                self._forecast(layer, bool(decoded), bool(missing))
            try:
                gone = []
                alone = not missing and not prefilled
                for together in self._ready(here, len(missing), len(here) if alone else MOST_TOGETHER):
                    leased, found = list[int](), list[Found]()
                    try:
                        for number in together:
                            if (weights := self._lease(number)) is None:
                                gone.append(number)
                                continue
                            leased.append(number)
                            found.append((number - first, weights))
                        self._count(leased, numbers, prefilled)
                        if found:
                            yield found
                    finally:
                        self._leases.release(first, self.header.experts)
            finally:
                self._end_acquisitions()
            # A few were evicted between the look, or the grant, and the lease.
            here, missing = [], gone

    def _ready(self, here: list[int], arriving: int, most: int) -> Iterator[list[int]]:
        for start in range(0, len(here), most):
            self._check_interrupted()
            yield here[start : start + most]
        for _ in range(arriving):
            self._check_interrupted()
            arrived = self._arrived.get()
            if isinstance(arrived, BaseException):
                raise arrived
            number, size = arrived
            expert = number % self.header.experts
            self.read[expert] = self.read.get(expert, 0) + size
            yield [number]

    def _count(self, leased: list[int], weights: Mapping[int, float], prefilled: Collection[int]) -> None:
        if not prefilled:
            self.use.decoded(leased)
            return
        self.use.decoded([number for number in leased if number not in prefilled])
        self.use.prefilled({number: weights[number] for number in leased if number in prefilled})

    def _lease(self, number: int) -> ExpertWeights | None:
        """The expert's weights under a lease, or None (and no lease) if it is absent or being changed."""
        if not self._leases.lease(number):
            return None
        weights = self._views.of(number)
        if weights is None:
            self._leases.release(number)
        return weights

    def _acquire(self, missing: list[int], here: list[int], prefilled: Collection[int]) -> None:
        self._arrived, header = SimpleQueue(), self.header
        # In the first call, for what a prompt alone wants is in less of a hurry.
        found = {number: self.use.read(number).uses for number in here}
        for prefill in (False, True):
            if numbers := [number for number in missing if (number in prefilled) is prefill]:
                each = Acquisition(self._client, self._loop, header.epoch, header.experts, prefill, self._arrived)
                each.begin(numbers, found)
                self._acquisitions.append(each)
                found = {}

    def _forecast(self, layer: int, decoding: bool, demanding: bool) -> None:
        numbers, self._expected = tuple(self._expected), []
        header = self.header
        self._foresight.tell(Forecast(header.epoch, header.experts, layer, numbers, not decoding, demanding))

    def _end_acquisitions(self) -> None:
        for each in self._acquisitions:
            each.end()
            self.calls += each.calls
        self._acquisitions = []

    def _check_interrupted(self) -> None:
        if self._interrupted:
            raise Interrupted("the request was cancelled")
