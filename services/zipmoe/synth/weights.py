"""Weights: every tensor of a synthetic model, one at a time and each for itself.

A token's stream is made of what all tokens share, what its context brings, and its own. Routers are random, so the
shares of these three in the stream are how alike two tokens are routed: all tokens a little (static popularity), those
of one request more, neighbours most. Nothing in a router is drawn after the statistics it should show.

* Shared: every embedding has a component along one direction, the same for all tokens.
* Context: the first layer's attention is strong. Queries and keys have a common component for what all tokens share,
  and a rotary embedding turns that into attention that falls with distance; the rest of a score depends on content.
* Own: the rest of the embedding, and what the experts add.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from math import sqrt

import numpy as np

from zipmoe.synth.layout import Entry, Role, layout
from zipmoe.synth.preset import Preset
from zipmoe.synth.words import BLOCK, Floats, Stream, Words, to_bf16, to_floats

# RMS of an embedding. Layers write in proportion to what is there, so this only fixes the unit.
EMBEDDING = 0.5
# RMS of the product silu(gate) · up, and of a mean of values that attention makes, for inputs of RMS 1. Measured.
GATED = 0.6
MIXED = 0.6
# Root of the sum of the squares of a token's gate weights, near enough.
GATE_WEIGHT = 0.25
HEAD = 2.0  # standard deviation of the logits
BIAS = 0.02
NORM_SPREAD = 0.05
CHUNK = 128 * BLOCK  # weights


class Weights:
    """The tensors of `preset` for a seed. `entries` by name, in the order of computation."""

    def __init__(self, preset: Preset, seed: int) -> None:
        self.config = preset.config
        self.entries: Mapping[str, Entry] = {entry.name: entry for entry in layout(preset.config)}
        self._tuning = preset.tuning
        self._seed = seed
        self._hidden: int = preset.config["hidden_size"]
        self._common = self._direction("common direction", self._hidden)

    def words(self, name: str) -> Words:
        """A whole tensor, in its shape."""
        entry = self.entries[name]
        return np.concatenate(list(self.chunks(entry))).reshape(entry.shape)

    def chunks(self, entry: Entry) -> Iterator[Words]:
        """The tensor's words in order, whole rows and about CHUNK at a time."""
        stream = Stream(self._seed, entry.name)
        width = entry.shape[-1]
        rows = entry.weights // width
        step = max(CHUNK // width, 1)
        for row in range(0, rows, step):
            yield self._rows(entry, stream, row, min(step, rows - row), width)

    def _rows(self, entry: Entry, stream: Stream, first: int, rows: int, width: int) -> Words:
        tuning, count = self._tuning, rows * width
        match entry.role:
            case Role.NORM:
                return to_bf16(1 + NORM_SPREAD * stream.floats(count))
            case Role.QUERY_KEY_NORM:
                return to_bf16(sqrt(tuning.sharpness) * (1 + NORM_SPREAD * stream.floats(count)))
            case Role.EMBEDDING:
                own = stream.floats(count).reshape(rows, width) * np.float32(sqrt(1 - tuning.constant))
                return to_bf16((own + np.float32(sqrt(tuning.constant)) * self._common) * np.float32(EMBEDDING)).ravel()
            case Role.QUERY_KEY:
                return self._query_key(entry, stream, first, rows)
            case Role.HEAD:
                return self._head(stream, first, rows)
            case _:
                return stream.words(count, self._scale(entry))

    def _scale(self, entry: Entry) -> float:
        """RMS of a tensor's weights."""
        tuning, width = self._tuning, entry.shape[-1]
        match entry.role:
            case Role.BIAS:
                return BIAS
            case Role.ROUTER:
                return tuning.router / sqrt(width)
            case Role.OUTPUT:
                return self._attention(entry.layer) * self._rms(entry.layer) / (MIXED * sqrt(width))
            case Role.DOWN:
                return tuning.experts * self._rms(entry.layer) / (GATE_WEIGHT * GATED * sqrt(width))
            case Role.SHARED_DOWN:
                return tuning.experts * self._rms(entry.layer) / (GATED * sqrt(width))
            case _:
                return 1 / sqrt(width)

    def _query_key(self, entry: Entry, stream: Stream, first: int, rows: int) -> Words:
        """Random, plus a common output for what all tokens share: [rows, hidden]."""
        tuning, width = self._tuning, self._hidden
        shared, rms = (self._mixed, tuning.context / MIXED) if entry.layer else (self._common, 1)
        share = tuning.constant * (rms * EMBEDDING / self._rms(entry.layer)) ** 2
        common = sqrt(tuning.locality / (1 - tuning.locality) / share)
        towards = self._direction(f"common query and key of layer {entry.layer}", entry.shape[0])[first : first + rows]
        weights = stream.floats(rows * width).reshape(rows, width) / np.float32(sqrt(width))
        weights += np.float32(common / width) * towards[:, None] * shared
        if self.config["model_type"] != "olmoe":  # there, a norm follows
            weights *= np.float32(sqrt(tuning.sharpness * (1 - tuning.locality)))
        return to_bf16(weights).ravel()

    def _head(self, stream: Stream, first: int, rows: int) -> Words:
        """Random, blind to what all tokens share, or a few tokens would win always: [rows, hidden]. The end token's
        row is 0, so that no greedy answer ends by itself."""
        weights = stream.floats(rows * self._hidden).reshape(rows, self._hidden)
        weights -= (weights @ self._common / np.float32(self._hidden))[:, None] * self._common
        weights *= np.float32(HEAD / sqrt(self._hidden))
        end = self.config["eos_token_id"] - first
        if 0 <= end < rows:
            weights[end] = 0
        return to_bf16(weights).ravel()

    def _attention(self, layer: int) -> float:
        return self._tuning.context if layer == 0 else self._tuning.attention

    def _rms(self, layer: int) -> float:
        """RMS of the stream before a layer, as far as the strengths tell."""
        tuning = self._tuning
        first = 1 + tuning.context**2 + tuning.experts**2
        other = 1 + tuning.attention**2 + tuning.experts**2
        return EMBEDDING * sqrt(first * other ** (layer - 1)) if layer else EMBEDDING

    @cached_property
    def _mixed(self) -> Floats:
        """What the first layer's attention makes of the common direction, and so what all tokens share behind it."""
        at = "model.layers.0.self_attn."
        mixed = to_floats(self.words(at + "o_proj.weight")) @ (
            to_floats(self.words(at + "v_proj.weight")) @ self._common
        )
        return _unit(mixed)

    def _direction(self, name: str, width: int) -> Floats:
        """A vector of RMS 1."""
        return _unit(Stream(self._seed, name).floats(width))


def _unit(vector: Floats) -> Floats:
    unit: Floats = vector / np.sqrt(np.mean(vector**2))
    return unit
