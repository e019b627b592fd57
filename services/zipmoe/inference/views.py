"""Views: experts' weights where they lie in the arena, each made once for as long as it lies there.

Whoever asks for one has a lease of it, and may use it for as long.
"""

import warnings
from collections.abc import Sequence

import torch

from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory, Record, State
from zipmoe.arena.layout import Part
from zipmoe.inference.model.weight import ExpertWeights, PackedExpert, PlainExpert
from zipmoe.kernels import Packed


class Views:
    def __init__(self, arena: Arena, directory: Directory, hidden: int) -> None:
        self._header = arena.header
        self._memory = arena.memory
        self._directory = directory
        self._hidden = hidden
        # By expert: the generation of the record they were made for, and the weights.
        self._experts: dict[int, tuple[int, ExpertWeights]] = {}
        # By layer: the records that were looked at, and what was found.
        self._layers: dict[int, tuple[bytes, Sequence[PackedExpert] | None]] = {}

    def of(self, expert: int) -> ExpertWeights | None:
        """None if it is absent."""
        generation = self._directory.generation(expert)
        if not generation:
            return None
        seen, weights = self._experts.get(expert, (0, None))
        if weights is None or seen != generation:
            weights = self._view(self._directory.read(expert))
            self._experts[expert] = generation, weights
        return weights

    def layer(self, layer: int) -> Sequence[PackedExpert] | None:
        """All experts of a layer. None if any is absent, or not packed."""
        numbers = range(layer * self._header.experts, (layer + 1) * self._header.experts)
        records = self._directory.records_of(numbers)
        seen, weights = self._layers.get(layer, (b"", None))
        if seen != records:
            found = map(self.of, numbers) if all(map(self._directory.ready, numbers)) else ()
            packed = [weights for weights in found if isinstance(weights, PackedExpert)]
            weights = packed if len(packed) == len(numbers) else None
            self._layers[layer] = records, weights
        return weights

    def _view(self, record: Record) -> ExpertWeights:
        weights, hidden = self._header.weights, self._hidden
        inner = weights // (3 * hidden)
        if record.state is State.COMPRESSED:
            planes = (
                self._memory[record.sign_mantissas : record.sign_mantissas + weights],
                self._memory[record.exponents : record.exponents + self._header.part_bytes(Part.EXPONENTS)],
            )
            gate_up_size = 2 * inner * hidden
            return PackedExpert(Packed(*planes, 0, 2 * inner, hidden), Packed(*planes, gate_up_size, hidden, inner))
        with warnings.catch_warnings():
            # The arena is mapped read-only, and torch would rather it were not.
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            words = torch.frombuffer(self._memory, dtype=torch.bfloat16, count=weights, offset=record.words)
        gate_up, down = words.tensor_split([2 * inner * hidden])
        return PlainExpert(gate_up.view(2 * inner, hidden), down.view(hidden, inner))
