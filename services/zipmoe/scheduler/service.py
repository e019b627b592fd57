"""The scheduler's door: converts and calls."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from zipmoe.arena.directory import State
from zipmoe.arena.layout import Part, same_epoch
from zipmoe.errors import UnknownExpert
from zipmoe.scheduler.policy import Phase
from zipmoe.scheduler.scheduler import Scheduler
from zipmoe.v1 import expert_pb2, scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.status import Context

_PHASES = {scheduler_pb2.PHASE_PREFILL: Phase.PREFILL, scheduler_pb2.PHASE_DECODE: Phase.DECODE}


class SchedulerService(scheduler_pb2_grpc.SchedulerServiceServicer):
    def __init__(self, scheduler: Scheduler, arena: str) -> None:
        self._scheduler = scheduler
        self._arena = arena

    async def AcquireExperts(
        self, request: scheduler_pb2.AcquireExpertsRequest, context: Context
    ) -> AsyncIterator[scheduler_pb2.AcquireExpertsResponse]:
        same_epoch(request.epoch, self._scheduler.header.epoch, self._arena)
        numbers = [self._number(named) for named in request.experts]
        phase = _PHASES.get(request.phase, Phase.DECODE)
        async with aclosing(self._scheduler.acquire(numbers, phase)) as granted:
            async for number in granted:
                yield scheduler_pb2.AcquireExpertsResponse(expert=self._named(number))

    async def GetCacheStatus(
        self, request: scheduler_pb2.GetCacheStatusRequest, context: Context
    ) -> scheduler_pb2.GetCacheStatusResponse:
        scheduler, statistics = self._scheduler, self._scheduler.statistics()
        slots, states = scheduler.slots, scheduler.slots.states
        ready = [number for number in range(scheduler.header.records) if slots.residency.ready(number)]
        return scheduler_pb2.GetCacheStatusResponse(
            arena=self._arena,
            epoch=scheduler.header.epoch,
            experts=scheduler.header.records,
            pools=[
                scheduler_pb2.PoolStatus(
                    part=part.name.lower(),
                    slots=slots.partition[part].slots,
                    slot_bytes=slots.partition[part].slot_bytes,
                    used=slots.partition[part].slots - slots.residency.free(part),
                )
                for part in Part
                if slots.partition[part].slots
            ],
            full=states[State.FULL],
            compressed=states[State.COMPRESSED],
            sign_mantissas=states[State.SIGN_MANTISSAS],
            exponents=states[State.EXPONENTS],
            loading=len(slots.residency.filling),
            leased=slots.leased(),
            uses=slots.use.total(),
            misses=statistics.misses,
            partial_misses=statistics.partial_misses,
            evictions=statistics.evictions,
            demotions=statistics.demotions,
            bytes_read=statistics.bytes_read,
            hit_rate=statistics.hit_rate,
            resident=[self._named(number) for number in ready] if request.list_experts else [],
        )

    def _number(self, named: expert_pb2.ExpertId) -> int:
        header = self._scheduler.header
        if named.layer >= header.layers or named.expert >= header.experts:
            raise UnknownExpert(
                f"there is no expert {named.expert} in layer {named.layer}: the model has {header.layers} layers "
                f"of {header.experts} experts"
            )
        return named.layer * header.experts + named.expert

    def _named(self, number: int) -> expert_pb2.ExpertId:
        layer, expert = divmod(number, self._scheduler.header.experts)
        return expert_pb2.ExpertId(layer=layer, expert=expert)
