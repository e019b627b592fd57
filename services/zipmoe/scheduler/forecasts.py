"""Forecasts: which experts will probably be wanted soon, who is brought in for that, and until when it matters.

     tell() ─▶ named ─ due() ─ begin() ─▶ aloft ─ landed() ─▶ spared, until it is used or its layer is past
                 │                          ├──── join(): somebody waits for it now, it is a forecast no more
                 └── replaced, or past      └──── stale(): to be dropped, unless it has started

Inference computes layer after layer, so a forecast is past when its layer is. Knows neither slots nor the store.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from zipmoe.arena.use import UseTable
from zipmoe.scheduler.benefit import Benefit
from zipmoe.scheduler.policy import Phase

# As many as keep a worker busy: the one it loads, and one that is there when it has done so. More would take slots for
# a guess that the next layer makes better.
LOADS_A_WORKER: Final = 2

# A layer of a long prompt may take so long on a slow disk; if it has not come by then, whoever forecast it is gone.
SPARED_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """While `layer` is computed: absent experts that later layers will probably want, likeliest first. `demanding`: the
    layer's own absent ones are being asked for, too."""

    layer: int
    experts: tuple[int, ...] = ()
    phase: Phase = Phase.DECODE
    demanding: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """A layer in a decode step."""

    step: int
    layer: int


@dataclass(frozen=True, slots=True)
class Spared:
    """When it was forecast, its uses when it had landed, and the end of patience."""

    made: Moment
    uses: int
    until: float


class Forecasts:
    def __init__(self, use: UseTable, experts: int) -> None:
        """Experts are numbered through all layers, `experts` to a layer."""
        # How many may be on their way at a time.
        self.most = LOADS_A_WORKER
        self.benefit = Benefit(use)
        self._use = use
        self._experts = experts
        self._at = Moment(0, 0)
        self._demanded = Moment(-1, 0)
        self._told = Forecast(0)
        self._named: list[int] = []
        self._aloft: dict[int, Moment] = {}
        self._dropped: set[int] = set()
        self._joined: list[int] = []
        self._spared: dict[int, Spared] = {}

    @property
    def phase(self) -> Phase:
        return self._told.phase

    @property
    def layer(self) -> int:
        """That is being computed."""
        return self._at.layer

    def tell(self, forecast: Forecast) -> None:
        """Takes the place of what was told before."""
        self._reach(forecast.layer)
        self.benefit.told(set(forecast.experts).difference(self._told.experts))
        self._told, self._named = forecast, list(forecast.experts)

    def demand(self, layer: int) -> None:
        """All that this layer wants and has not got is asked for now."""
        self._reach(layer)
        self._demanded = self._at

    def due(self, absent: Callable[[int], bool]) -> list[int]:
        """Who may be brought in now, of those absent. Nobody before the demands of the layer that named them."""
        room = 0 if self._expecting() else max(0, self.most - len(self._aloft))
        return [expert for expert in self._named if self._ahead(expert) and absent(expert)][:room]

    def near(self) -> range:
        """Experts of the layers that are being computed or were forecast: those that are resident may be the next to be
        used, and are not named."""
        last = max(self._told.experts, default=0) // self._experts
        return range(self._at.layer * self._experts, (last + 1) * self._experts)

    def begin(self, experts: Iterable[int]) -> None:
        """These are being loaded."""
        for expert in experts:
            self._named.remove(expert)
            self._aloft[expert] = self._at
            self.benefit.begun(expert)

    def join(self, expert: int) -> bool:
        """Somebody waits for it. True if it was on its way and nobody did before."""
        if self._aloft.pop(expert, None) is None:
            return False
        self._joined.append(expert)
        return True

    def joined(self) -> list[int]:
        """Who is waited for now; each is said once."""
        joined, self._joined = self._joined, []
        return joined

    def stale(self, crowded: bool) -> list[int]:
        """Who is on its way and need not come any more, or, where demands find no slots, anybody; each is said once."""
        stale = [each for each in self._aloft if each not in self._dropped and (crowded or self._past(each))]
        self._dropped.update(stale)
        return stale

    def ended(self, expert: int, bytes_read: int) -> None:
        """Its load came to nothing. It is not begun again unless it is told again."""
        self.benefit.read(bytes_read)
        self._aloft.pop(expert, None)
        self._dropped.discard(expert)

    def landed(self, expert: int, bytes_read: int, waited_for: bool) -> None:
        """Its load is complete."""
        made = self._aloft.get(expert, self._at)
        self.ended(expert, bytes_read)
        if waited_for:
            self.benefit.used(bytes_read)
        else:
            self.benefit.landed(expert, bytes_read)
            self._spared[expert] = Spared(made, self._use.read(expert).uses, time.monotonic() + SPARED_SECONDS)

    def spared(self) -> frozenset[int]:
        """Residents that are still to be used as was forecast."""
        step, layer, now = self._use.step(), self._at.layer, time.monotonic()
        for expert, of in list(self._spared.items()):
            ahead = of.made.step == step and of.made.layer <= layer <= expert // self._experts
            if not ahead or self._use.read(expert).uses != of.uses or now > of.until:
                del self._spared[expert]
        return frozenset(self._spared)

    def _reach(self, layer: int) -> None:
        step = self._use.step()
        if step != self._at.step or layer < self._at.layer:
            # Another token, or another piece of a prompt.
            self._told, self._named = Forecast(layer), []
        self._at = Moment(step, layer)

    def _expecting(self) -> bool:
        """The layer's own demands are still to come; they may be for what was forecast of it."""
        return self._told.demanding and self._told.layer == self._at.layer and self._demanded != self._at

    def _ahead(self, expert: int) -> bool:
        return self._at.step == self._use.step() and expert // self._experts > self._at.layer

    def _past(self, expert: int) -> bool:
        if self._at.step == self._use.step() and expert // self._experts == self._at.layer:
            return not self._expecting()
        return not self._ahead(expert) or expert not in self._told.experts
