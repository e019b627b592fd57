from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Urgency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    URGENCY_UNSPECIFIED: _ClassVar[Urgency]
    URGENCY_DEMAND: _ClassVar[Urgency]
    URGENCY_FORECAST: _ClassVar[Urgency]
    URGENCY_KEEP: _ClassVar[Urgency]
URGENCY_UNSPECIFIED: Urgency
URGENCY_DEMAND: Urgency
URGENCY_FORECAST: Urgency
URGENCY_KEEP: Urgency

class ExpertId(_message.Message):
    __slots__ = ("layer", "expert")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    layer: int
    expert: int
    def __init__(self, layer: _Optional[int] = ..., expert: _Optional[int] = ...) -> None: ...

class SlotRef(_message.Message):
    __slots__ = ("offset", "length")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    offset: int
    length: int
    def __init__(self, offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("expert", "act", "words", "sign_mantissas", "exponents")
    class Act(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACT_UNSPECIFIED: _ClassVar[Placement.Act]
        ACT_LOAD: _ClassVar[Placement.Act]
        ACT_RECOVER: _ClassVar[Placement.Act]
        ACT_REDUCE: _ClassVar[Placement.Act]
    ACT_UNSPECIFIED: Placement.Act
    ACT_LOAD: Placement.Act
    ACT_RECOVER: Placement.Act
    ACT_REDUCE: Placement.Act
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    ACT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    SIGN_MANTISSAS_FIELD_NUMBER: _ClassVar[int]
    EXPONENTS_FIELD_NUMBER: _ClassVar[int]
    expert: ExpertId
    act: Placement.Act
    words: SlotRef
    sign_mantissas: SlotRef
    exponents: SlotRef
    def __init__(self, expert: _Optional[_Union[ExpertId, _Mapping]] = ..., act: _Optional[_Union[Placement.Act, str]] = ..., words: _Optional[_Union[SlotRef, _Mapping]] = ..., sign_mantissas: _Optional[_Union[SlotRef, _Mapping]] = ..., exponents: _Optional[_Union[SlotRef, _Mapping]] = ...) -> None: ...
