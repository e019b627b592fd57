"""Cache: slots under a policy of the scheduler's, without anything in them. What it decides is the scheduler's own."""

import heapq
from collections.abc import Collection, Mapping

from zipmoe.arena.layout import Header
from zipmoe.arena.use import Use
from zipmoe.arena.use_counter import UseCounter
from zipmoe.scheduler.policy import Place, Worth, affinity, for_prefill, key, ranked


class Cache:
    """Experts are numbered through all layers. With `guarded` a prefill is admitted by the scheduler's rule, without it
    takes whatever is worth least."""

    def __init__(self, layers: int, experts: int, slots: int, worth: Worth = affinity, *, guarded: bool = True) -> None:
        header = Header(layers, experts, weights=0, bits=0, part=0, size=0, epoch=0, fingerprint="")
        self._use = UseCounter(memoryview(bytearray(header.use_bytes)), header, start=header.use_offset)
        self._layers, self._experts, self._slots = layers, experts, slots
        self._worth, self._guarded = worth, guarded
        self._resident = dict[int, Use]()

    def advance(self) -> None:
        """Begins the next decode step."""
        self._use.advance()

    def decode(self, layer: int, wanted: Collection[int]) -> int:
        """Uses these experts of a layer, each once; returns how many were missing.

        Those at hand are used first, the others as they come in, one after the other; who was used may make room."""
        place = Place(self._use.step(), layer, self._layers)
        missing = [expert for expert in wanted if expert not in self._resident]
        here = [expert for expert in wanted if expert in self._resident]
        waiting = [self._rank(expert, place) for expert in self._resident if expert not in wanted] if missing else []
        self._used(here)
        waiting += [self._rank(expert, place) for expert in here]
        heapq.heapify(waiting)
        for expert in missing:
            if len(self._resident) == self._slots:
                del self._resident[heapq.heappop(waiting)[-1]]
            self._used([expert])
            heapq.heappush(waiting, self._rank(expert, place))
        return len(missing)

    def prefill(self, layer: int, wanted: Mapping[int, float]) -> int:
        """The same for a chunk of a prompt, which gives them these gate weights; one after the other."""
        missing = 0
        for expert, weight in wanted.items():
            if expert not in self._resident:
                missing += 1
                if len(self._resident) == self._slots:
                    self._evict_for_prefill(layer, expert)
            self._use.prefilled({expert: weight})
            self._resident[expert] = self._use.read(expert)
        return missing

    def _evict_for_prefill(self, layer: int, expert: int) -> None:
        victims = self._coldest_first(layer, (expert,))
        if self._guarded:
            victims = for_prefill(victims, self._resident, self._use.step(), free=0)
        del self._resident[victims[0]]

    def _used(self, experts: Collection[int]) -> None:
        self._use.decoded(experts)
        self._resident.update((expert, self._use.read(expert)) for expert in experts)

    def _rank(self, expert: int, place: Place) -> tuple[float, float, int, int]:
        use = self._resident[expert]
        return *key(use, place.next(expert // self._experts), self._worth), expert

    def _coldest_first(self, layer: int, kept: Collection[int]) -> list[int]:
        place = Place(self._use.step(), layer, self._layers)
        others = {expert: use for expert, use in self._resident.items() if expert not in kept}
        return ranked(others, lambda expert: place.next(expert // self._experts), self._worth)
