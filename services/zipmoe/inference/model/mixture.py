"""Mixture: what a decoder asks for the experts of a layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zipmoe.inference.model.arithmetic import Integers, Rows, Shares
from zipmoe.inference.model.forecast import Expected


@dataclass(frozen=True, slots=True)
class Routed:
    """Rows x [T, H] of a group, the experts [T, k] that they were routed to, and the gate weights [T, k] of these."""

    x: Rows
    experts: Integers
    weights: Shares


# Computes what the next layers will probably want; None after the last one. To be called before the experts are, whose
# sum may take the place of what it is computed from.
Foretell = Callable[[], Expected | None]

# (layer, its groups, and where forecasts are made, how)
# -> for each group the sum of its experts' outputs, weighted [T, H]
Mixture = Callable[[int, Sequence[Routed], Foretell | None], Sequence[Rows]]
