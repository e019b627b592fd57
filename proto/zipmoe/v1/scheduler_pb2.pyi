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
    __slots__ = ("epoch", "phase", "experts")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    phase: Phase
    experts: _containers.RepeatedCompositeFieldContainer[_expert_pb2.ExpertId]
    def __init__(self, epoch: _Optional[int] = ..., phase: _Optional[_Union[Phase, str]] = ..., experts: _Optional[_Iterable[_Union[_expert_pb2.ExpertId, _Mapping]]] = ...) -> None: ...

class AcquireExpertsResponse(_message.Message):
    __slots__ = ("expert",)
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    expert: _expert_pb2.ExpertId
    def __init__(self, expert: _Optional[_Union[_expert_pb2.ExpertId, _Mapping]] = ...) -> None: ...

class GetCacheStatusRequest(_message.Message):
    __slots__ = ("list_experts",)
    LIST_EXPERTS_FIELD_NUMBER: _ClassVar[int]
    list_experts: bool
    def __init__(self, list_experts: _Optional[bool] = ...) -> None: ...

class GetCacheStatusResponse(_message.Message):
    __slots__ = ("arena", "epoch", "experts", "slots", "slot_bytes", "full", "compressed", "loading", "leased", "uses", "misses", "evictions", "bytes_read", "hit_rate", "resident")
    ARENA_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    LOADING_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    HIT_RATE_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_FIELD_NUMBER: _ClassVar[int]
    arena: str
    epoch: int
    experts: int
    slots: int
    slot_bytes: int
    full: int
    compressed: int
    loading: int
    leased: int
    uses: int
    misses: int
    evictions: int
    bytes_read: int
    hit_rate: float
    resident: _containers.RepeatedCompositeFieldContainer[_expert_pb2.ExpertId]
    def __init__(self, arena: _Optional[str] = ..., epoch: _Optional[int] = ..., experts: _Optional[int] = ..., slots: _Optional[int] = ..., slot_bytes: _Optional[int] = ..., full: _Optional[int] = ..., compressed: _Optional[int] = ..., loading: _Optional[int] = ..., leased: _Optional[int] = ..., uses: _Optional[int] = ..., misses: _Optional[int] = ..., evictions: _Optional[int] = ..., bytes_read: _Optional[int] = ..., hit_rate: _Optional[float] = ..., resident: _Optional[_Iterable[_Union[_expert_pb2.ExpertId, _Mapping]]] = ...) -> None: ...
