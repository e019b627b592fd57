"""Feed-forward: what follows attention in a layer. Dense, or experts that a router chooses, with or without one that
every token has."""

from dataclasses import dataclass
from typing import Any

from zipmoe.inference.model.arithmetic import Arithmetic, Rows
from zipmoe.inference.model.router import Router


@dataclass(frozen=True, slots=True)
class Dense:
    """silu(x·gate) * (x·up) · down (Shazeer, 2020); weights are [out, in]."""

    gate: Any
    up: Any
    down: Any

    def __call__(self, do: Arithmetic, x: Rows) -> Rows:
        gate, up = do.linears(x, [(self.gate, None), (self.up, None)])
        return do.linear(do.gated(gate, up), self.down)


@dataclass(frozen=True, slots=True)
class Shared:
    """An expert of every token. It may have a gate [1, in], whose sigmoid weights what it says."""

    expert: Dense
    gate: Any = None

    def __call__(self, do: Arithmetic, x: Rows) -> Rows:
        made = self.expert(do, x)
        return made if self.gate is None else do.dampen(made, do.linear(x, self.gate))


@dataclass(frozen=True, slots=True)
class Sparse:
    """The router's weight [E, in] and how it chooses; `wide`: it scores in FP32."""

    weight: Any
    router: Router
    shared: Shared | None = None
    wide: bool = False
