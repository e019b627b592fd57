"""Modes: the arithmetics, by the names that people give."""

from zipmoe.inference.model.arithmetic import Arithmetic
from zipmoe.inference.model.fast import Fast
from zipmoe.inference.model.reference import Reference


def arithmetic(mode: str, threads: int) -> Arithmetic:
    return Reference(threads) if mode == "reference" else Fast(threads)
