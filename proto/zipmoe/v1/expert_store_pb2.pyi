from zipmoe.v1 import expert_pb2 as _expert_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DescribeStoreRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeStoreResponse(_message.Message):
    __slots__ = ("pack", "fingerprint", "arena", "epoch", "workers", "experts_loaded", "bytes_read", "workers_replaced")
    PACK_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    ARENA_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    EXPERTS_LOADED_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    WORKERS_REPLACED_FIELD_NUMBER: _ClassVar[int]
    pack: str
    fingerprint: str
    arena: str
    epoch: int
    workers: int
    experts_loaded: int
    bytes_read: int
    workers_replaced: int
    def __init__(self, pack: _Optional[str] = ..., fingerprint: _Optional[str] = ..., arena: _Optional[str] = ..., epoch: _Optional[int] = ..., workers: _Optional[int] = ..., experts_loaded: _Optional[int] = ..., bytes_read: _Optional[int] = ..., workers_replaced: _Optional[int] = ...) -> None: ...

class LoadExpertsRequest(_message.Message):
    __slots__ = ("epoch", "urgency", "placements", "call")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    URGENCY_FIELD_NUMBER: _ClassVar[int]
    PLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    urgency: _expert_pb2.Urgency
    placements: _containers.RepeatedCompositeFieldContainer[_expert_pb2.Placement]
    call: int
    def __init__(self, epoch: _Optional[int] = ..., urgency: _Optional[_Union[_expert_pb2.Urgency, str]] = ..., placements: _Optional[_Iterable[_Union[_expert_pb2.Placement, _Mapping]]] = ..., call: _Optional[int] = ...) -> None: ...

class LoadExpertsResponse(_message.Message):
    __slots__ = ("expert", "outcome", "detail", "bytes_read", "read_nanoseconds", "decode_nanoseconds", "call")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[LoadExpertsResponse.Outcome]
        OUTCOME_LOADED: _ClassVar[LoadExpertsResponse.Outcome]
        OUTCOME_DROPPED: _ClassVar[LoadExpertsResponse.Outcome]
        OUTCOME_CORRUPT: _ClassVar[LoadExpertsResponse.Outcome]
        OUTCOME_LOST: _ClassVar[LoadExpertsResponse.Outcome]
    OUTCOME_UNSPECIFIED: LoadExpertsResponse.Outcome
    OUTCOME_LOADED: LoadExpertsResponse.Outcome
    OUTCOME_DROPPED: LoadExpertsResponse.Outcome
    OUTCOME_CORRUPT: LoadExpertsResponse.Outcome
    OUTCOME_LOST: LoadExpertsResponse.Outcome
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    READ_NANOSECONDS_FIELD_NUMBER: _ClassVar[int]
    DECODE_NANOSECONDS_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    expert: _expert_pb2.ExpertId
    outcome: LoadExpertsResponse.Outcome
    detail: str
    bytes_read: int
    read_nanoseconds: int
    decode_nanoseconds: int
    call: int
    def __init__(self, expert: _Optional[_Union[_expert_pb2.ExpertId, _Mapping]] = ..., outcome: _Optional[_Union[LoadExpertsResponse.Outcome, str]] = ..., detail: _Optional[str] = ..., bytes_read: _Optional[int] = ..., read_nanoseconds: _Optional[int] = ..., decode_nanoseconds: _Optional[int] = ..., call: _Optional[int] = ...) -> None: ...

class CancelLoadsRequest(_message.Message):
    __slots__ = ("experts", "drain")
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    experts: _containers.RepeatedCompositeFieldContainer[_expert_pb2.ExpertId]
    drain: bool
    def __init__(self, experts: _Optional[_Iterable[_Union[_expert_pb2.ExpertId, _Mapping]]] = ..., drain: _Optional[bool] = ...) -> None: ...

class CancelLoadsResponse(_message.Message):
    __slots__ = ("dropped",)
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    dropped: _containers.RepeatedCompositeFieldContainer[_expert_pb2.ExpertId]
    def __init__(self, dropped: _Optional[_Iterable[_Union[_expert_pb2.ExpertId, _Mapping]]] = ...) -> None: ...

class HastenLoadsRequest(_message.Message):
    __slots__ = ("experts",)
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    experts: _containers.RepeatedCompositeFieldContainer[_expert_pb2.ExpertId]
    def __init__(self, experts: _Optional[_Iterable[_Union[_expert_pb2.ExpertId, _Mapping]]] = ...) -> None: ...

class HastenLoadsResponse(_message.Message):
    __slots__ = ("hastened",)
    HASTENED_FIELD_NUMBER: _ClassVar[int]
    hastened: _containers.RepeatedCompositeFieldContainer[_expert_pb2.ExpertId]
    def __init__(self, hastened: _Optional[_Iterable[_Union[_expert_pb2.ExpertId, _Mapping]]] = ...) -> None: ...
