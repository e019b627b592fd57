"""Mixture: what a decoder asks for the experts of a layer."""

from collections.abc import Callable

from zipmoe.inference.model.arithmetic import Integers, Rows, Shares

# (layer, x [T, H], experts [T, k], gate weights [T, k], experts [T, D, k] that the next D layers will probably want or
# None) -> sum of the experts' outputs, weighted [T, H]
Mixture = Callable[[int, Rows, Integers, Shares, Integers | None], Rows]
