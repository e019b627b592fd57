"""Ranking: who goes next. To rank all experts takes a millisecond or two, and a layer that waits for room has not got
them. But what an expert of a layer is worth changes only when that layer is computed, so each is ranked once a step,
and the least of all is the least of the layers' first.
"""

from collections import deque
from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field

from zipmoe.arena.use import Use, UseTable
from zipmoe.scheduler.policy import Phase, Place, Visit, Worth, affinity, for_prefill, ranked


@dataclass(slots=True)
class _Layer:
    """The residents of a layer as ranked for its visit in step `visit`: what is said of each use, the least first."""

    visit: int = -1
    left: deque[tuple[float, int, Use]] = field(default_factory=deque)


class Ranking:
    def __init__(self, use: UseTable, layers: int, experts: int, worth: Worth = affinity) -> None:
        """Experts are numbered through all layers, `experts` to a layer."""
        self._use = use
        self._worth = worth
        self._experts = experts
        self._layers = [_Layer() for _ in range(layers)]

    def victims(
        self, residents: Collection[int], kept: Container[int], phase: Phase, layer: int, free: int
    ) -> Iterator[int]:
        """The residents that may go for experts of this layer, first to go first, but for those kept. `residents` may
        shrink meanwhile.

        Who was used since its layer was ranked is passed over, for it is worth more than it was, and who has become
        resident since is not ranked; both are when all others are through.
        """
        place = Place(self._use.step(), layer, len(self._layers))
        if phase is Phase.PREFILL:
            uses = {expert: self._use.read(expert) for expert in residents if expert not in kept}
            coldest_first = ranked(uses, lambda expert: place.next(expert // self._experts), self._worth)
            yield from for_prefill(coldest_first, uses, place.step, free)
            return
        visits = [place.next(each) for each in range(len(self._layers))]
        self._rank(residents, [at for at, visit in enumerate(visits) if self._layers[at].visit != visit.step], visits)
        # The present layer's experts are just being used and brought in: it is ranked again the next time.
        self._layers[layer].visit = -1
        yield from self._least(residents, kept, visits)
        self._rank(residents, range(len(self._layers)), visits)
        yield from self._least(residents, kept, visits)

    def _rank(self, residents: Container[int], layers: Iterable[int], visits: list[Visit]) -> None:
        read, of = self._use.read, self._worth.of
        for layer in layers:
            step, found = visits[layer].step, list[tuple[float, int, Use]]()
            for expert in range(layer * self._experts, (layer + 1) * self._experts):
                if expert in residents:
                    use = read(expert)
                    found.append((of(use, step), expert, use))
            self._layers[layer] = _Layer(step, deque(sorted(found)))

    def _least(self, residents: Container[int], kept: Container[int], visits: list[Visit]) -> Iterator[int]:
        passed, due = list[tuple[int, tuple[float, int, Use]]](), self._worth.due
        try:
            while True:
                for layer in self._layers:
                    while layer.left and not self._stands(layer.left[0], residents):
                        layer.left.popleft()
                worths = [(due(each.left[0][0], visits[at]), at) for at, each in enumerate(self._layers) if each.left]
                if not worths:
                    return
                _, at = min(worths)
                first = self._layers[at].left.popleft()
                if first[1] in kept:
                    passed.append((at, first))
                else:
                    yield first[1]
        finally:
            # Who is kept for now may go for the next one.
            for at, first in reversed(passed):
                self._layers[at].left.appendleft(first)

    def _stands(self, first: tuple[float, int, Use], residents: Container[int]) -> bool:
        _, expert, use = first
        return expert in residents and self._use.read(expert) == use
