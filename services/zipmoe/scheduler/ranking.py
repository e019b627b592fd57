"""Ranking: who goes next, ranked once a decode step for all of its layers. To rank a thousand experts takes a
millisecond or two, and a layer that waits for room has not got them."""

from collections import deque
from collections.abc import Collection, Container, Iterator

from zipmoe.arena.use import Use, UseTable
from zipmoe.scheduler.policy import Phase, victims


class Ranking:
    def __init__(self, use: UseTable) -> None:
        self._use = use
        self._step = -1
        self._left = deque[tuple[int, Use]]()

    def victims(self, residents: Collection[int], kept: Container[int], phase: Phase, free: int) -> Iterator[int]:
        """The residents that may go, first to go first, but for those kept. `residents` may shrink meanwhile.

        Within a decode step it goes on where it was left, past those that were used since, for they are worth more than
        they were; who has become resident since is only ranked when all others are through.
        """
        now = self._use.step()
        if phase is Phase.DECODE and now == self._step:
            yield from self._unchanged(residents, kept)
        uses = {expert: self._use.read(expert) for expert in residents if expert not in kept}
        ranked = victims(uses, now, phase, free)
        if phase is Phase.DECODE:
            self._step, self._left = now, deque((expert, uses[expert]) for expert in ranked)
            yield from self._unchanged(residents, kept)
        else:
            yield from ranked

    def _unchanged(self, residents: Container[int], kept: Container[int]) -> Iterator[int]:
        while self._left:
            expert, use = self._left.popleft()
            if expert in residents and expert not in kept and self._use.read(expert) == use:
                yield expert
