"""Mixture: what a decoder asks for the experts of a layer."""

from collections.abc import Callable

from zipmoe.inference.model.arithmetic import Integers, Rows, Shares
from zipmoe.inference.model.forecast import Expected

# (layer, x [T, H], experts [T, k], gate weights [T, k], what the next layers will probably want, if anybody asks that)
# -> sum of the experts' outputs, weighted [T, H]
Mixture = Callable[[int, Rows, Integers, Shares, Expected | None], Rows]
