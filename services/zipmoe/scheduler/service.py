"""The scheduler's door: converts and calls."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from zipmoe.arena.directory import State
from zipmoe.arena.layout import Part, same_epoch
from zipmoe.errors import UnknownExpert
from zipmoe.scheduler.forecasts import Forecast
from zipmoe.scheduler.policy import Phase
from zipmoe.scheduler.scheduler import Scheduler
from zipmoe.v1 import expert_pb2, scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.exchange import answer_each
from zipmoe.wire.status import Context

_PHASES = {scheduler_pb2.PHASE_PREFILL: Phase.PREFILL, scheduler_pb2.PHASE_DECODE: Phase.DECODE}


class SchedulerService(scheduler_pb2_grpc.SchedulerServiceServicer):
    def __init__(self, scheduler: Scheduler, arena: str) -> None:
        self._scheduler = scheduler
        self._arena = arena
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """Ends the streams that last as long as their callers, for a server that stops waits for what is open."""
        if not self._closed.done():
            self._closed.set_result(None)

    async def AcquireExperts(
        self, request_iterator: AsyncIterator[scheduler_pb2.AcquireExpertsRequest], context: Context
    ) -> AsyncIterator[scheduler_pb2.AcquireExpertsResponse]:
        granting = answer_each(request_iterator, self._grant, lambda request: request.end, self._closed)
        async with aclosing(granting) as granted:
            async for message in granted:
                yield message

    async def _grant(
        self, request: scheduler_pb2.AcquireExpertsRequest
    ) -> AsyncGenerator[scheduler_pb2.AcquireExpertsResponse, None]:
        same_epoch(request.epoch, self._scheduler.header.epoch, self._arena)
        numbers = [self._number(named) for named in request.experts]
        found = {self._number(each.expert): each.uses for each in request.found}
        phase = _PHASES.get(request.phase, Phase.DECODE)
        async with aclosing(self._scheduler.acquire(numbers, phase, found)) as granted:
            async for number, size in granted:
                yield scheduler_pb2.AcquireExpertsResponse(expert=self._named(number), bytes_read=size)

    async def ForecastExperts(
        self, request_iterator: AsyncIterator[scheduler_pb2.ForecastExpertsRequest], context: Context
    ) -> scheduler_pb2.ForecastExpertsResponse:
        hearing = asyncio.ensure_future(self._hear(request_iterator))
        try:
            await asyncio.wait((hearing, self._closed), return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                hearing.result()
        finally:
            hearing.cancel()
        return scheduler_pb2.ForecastExpertsResponse()

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
            forecasts=statistics.forecasts.forecasts,
            forecast_loads=statistics.forecasts.loads,
            forecast_bytes_read=statistics.forecasts.bytes_read,
            forecast_bytes_used=statistics.forecasts.bytes_used,
            forecasts_in_time=statistics.forecasts.in_time,
        )

    async def _hear(self, requests: AsyncIterator[scheduler_pb2.ForecastExpertsRequest]) -> None:
        async for request in requests:
            same_epoch(request.epoch, self._scheduler.header.epoch, self._arena)
            numbers = tuple(self._number(named) for named in request.experts)
            phase = _PHASES.get(request.phase, Phase.DECODE)
            self._scheduler.forecast(Forecast(request.layer, numbers, phase, request.demanding))

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
