"""Families: which decoder runs a checkpoint, by its model_type."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from zipmoe.errors import InvalidRequest
from zipmoe.inference.model.arithmetic import Arithmetic
from zipmoe.inference.model.fast import Fast
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.model.mixture import Mixture
from zipmoe.inference.model.olmoe import Olmoe, OlmoeConfig
from zipmoe.inference.model.reference import Reference
from zipmoe.inference.model.weight import DenseWeights


class DecoderConfig(Protocol):
    @property
    def context(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def experts_per_token(self) -> int: ...


class Decoder(Protocol):
    """What the engine needs of a family."""

    @property
    def config(self) -> DecoderConfig: ...
    @property
    def arithmetic(self) -> Arithmetic: ...
    def cache(self, capacity: int) -> KVCache: ...
    def forward(self, tokens: Tensor, cache: KVCache, mixture: Mixture, last: int = 1) -> Tensor: ...


def arithmetic(name: str, threads: int) -> Arithmetic:
    return Reference(threads) if name == "reference" else Fast(threads)


def decoder(config: Mapping[str, Any], dense: DenseWeights, arithmetic: Arithmetic, forecast: int = 0) -> Decoder:
    """It tells its mixture what the next `forecast` layers will probably want. Raises InvalidRequest for a model_type
    that no family here runs."""
    family = config.get("model_type")
    if family == "olmoe":
        return Olmoe(OlmoeConfig.from_dict(config), dense, arithmetic, forecast)
    raise InvalidRequest(f"model_type {family!r} is not supported: this release runs olmoe")
