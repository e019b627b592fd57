from zipmoe.v1 import expert_pb2 as _expert_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_PREFILL: _ClassVar[Phase]
    PHASE_DECODE: _ClassVar[Phase]
PHASE_UNSPECIFIED: Phase
PHASE_PREFILL: Phase
PHASE_DECODE: Phase

class AcquireExpertsRequest(_message.Message):
    __slots__ = ("epoch", "phase", "experts", "found", "call", "end")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    phase: Phase
    experts: _containers.RepeatedCompositeFieldContainer[_expert_pb2.ExpertId]
    found: _containers.RepeatedCompositeFieldContainer[FoundExpert]
    call: int
    end: bool
    def __init__(self, epoch: _Optional[int] = ..., phase: _Optional[_Union[Phase, str]] = ..., experts: _Optional[_Iterable[_Union[_expert_pb2.ExpertId, _Mapping]]] = ..., found: _Optional[_Iterable[_Union[FoundExpert, _Mapping]]] = ..., call: _Optional[int] = ..., end: _Optional[bool] = ...) -> None: ...

class FoundExpert(_message.Message):
    __slots__ = ("expert", "uses")
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    expert: _expert_pb2.ExpertId
    uses: int
    def __init__(self, expert: _Optional[_Union[_expert_pb2.ExpertId, _Mapping]] = ..., uses: _Optional[int] = ...) -> None: ...

class AcquireExpertsResponse(_message.Message):
    __slots__ = ("expert", "bytes_read", "call")
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    expert: _expert_pb2.ExpertId
    bytes_read: int
    call: int
    def __init__(self, expert: _Optional[_Union[_expert_pb2.ExpertId, _Mapping]] = ..., bytes_read: _Optional[int] = ..., call: _Optional[int] = ...) -> None: ...

class ForecastExpertsRequest(_message.Message):
    __slots__ = ("epoch", "phase", "layer", "experts", "demanding")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    DEMANDING_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    phase: Phase
    layer: int
    experts: _containers.RepeatedCompositeFieldContainer[_expert_pb2.ExpertId]
    demanding: bool
    def __init__(self, epoch: _Optional[int] = ..., phase: _Optional[_Union[Phase, str]] = ..., layer: _Optional[int] = ..., experts: _Optional[_Iterable[_Union[_expert_pb2.ExpertId, _Mapping]]] = ..., demanding: _Optional[bool] = ...) -> None: ...

class ForecastExpertsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCacheStatusRequest(_message.Message):
    __slots__ = ("list_experts",)
    LIST_EXPERTS_FIELD_NUMBER: _ClassVar[int]
    list_experts: bool
    def __init__(self, list_experts: _Optional[bool] = ...) -> None: ...

class PoolStatus(_message.Message):
    __slots__ = ("part", "slots", "slot_bytes", "used")
    PART_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    part: str
    slots: int
    slot_bytes: int
    used: int
    def __init__(self, part: _Optional[str] = ..., slots: _Optional[int] = ..., slot_bytes: _Optional[int] = ..., used: _Optional[int] = ...) -> None: ...

class GetCacheStatusResponse(_message.Message):
    __slots__ = ("arena", "epoch", "experts", "pools", "full", "compressed", "sign_mantissas", "exponents", "loading", "leased", "uses", "misses", "partial_misses", "evictions", "demotions", "bytes_read", "hit_rate", "resident", "forecasts", "forecast_loads", "forecast_bytes_read", "forecast_bytes_used", "forecasts_in_time")
    ARENA_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    SIGN_MANTISSAS_FIELD_NUMBER: _ClassVar[int]
    EXPONENTS_FIELD_NUMBER: _ClassVar[int]
    LOADING_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_MISSES_FIELD_NUMBER: _ClassVar[int]
    EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    DEMOTIONS_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    HIT_RATE_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_FIELD_NUMBER: _ClassVar[int]
    FORECASTS_FIELD_NUMBER: _ClassVar[int]
    FORECAST_LOADS_FIELD_NUMBER: _ClassVar[int]
    FORECAST_BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    FORECAST_BYTES_USED_FIELD_NUMBER: _ClassVar[int]
    FORECASTS_IN_TIME_FIELD_NUMBER: _ClassVar[int]
    arena: str
    epoch: int
    experts: int
    pools: _containers.RepeatedCompositeFieldContainer[PoolStatus]
    full: int
    compressed: int
    sign_mantissas: int
    exponents: int
    loading: int
    leased: int
    uses: int
    misses: int
    partial_misses: int
    evictions: int
    demotions: int
    bytes_read: int
    hit_rate: float
    resident: _containers.RepeatedCompositeFieldContainer[_expert_pb2.ExpertId]
    forecasts: int
    forecast_loads: int
    forecast_bytes_read: int
    forecast_bytes_used: int
    forecasts_in_time: int
    def __init__(self, arena: _Optional[str] = ..., epoch: _Optional[int] = ..., experts: _Optional[int] = ..., pools: _Optional[_Iterable[_Union[PoolStatus, _Mapping]]] = ..., full: _Optional[int] = ..., compressed: _Optional[int] = ..., sign_mantissas: _Optional[int] = ..., exponents: _Optional[int] = ..., loading: _Optional[int] = ..., leased: _Optional[int] = ..., uses: _Optional[int] = ..., misses: _Optional[int] = ..., partial_misses: _Optional[int] = ..., evictions: _Optional[int] = ..., demotions: _Optional[int] = ..., bytes_read: _Optional[int] = ..., hit_rate: _Optional[float] = ..., resident: _Optional[_Iterable[_Union[_expert_pb2.ExpertId, _Mapping]]] = ..., forecasts: _Optional[int] = ..., forecast_loads: _Optional[int] = ..., forecast_bytes_read: _Optional[int] = ..., forecast_bytes_used: _Optional[int] = ..., forecasts_in_time: _Optional[int] = ...) -> None: ...
