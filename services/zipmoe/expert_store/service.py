"""The store's door: converts and calls."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing

from zipmoe.arena.layout import Part, Slot
from zipmoe.expert_store.store import Store
from zipmoe.expert_store.task import Act, Outcome, Result, Urgency
from zipmoe.v1 import expert_pb2, expert_store_pb2, expert_store_pb2_grpc
from zipmoe.wire.exchange import answer_each
from zipmoe.wire.status import Context

_OUTCOMES = {
    Result.LOADED: expert_store_pb2.LoadExpertsResponse.OUTCOME_LOADED,
    Result.DROPPED: expert_store_pb2.LoadExpertsResponse.OUTCOME_DROPPED,
    Result.CORRUPT: expert_store_pb2.LoadExpertsResponse.OUTCOME_CORRUPT,
    Result.LOST: expert_store_pb2.LoadExpertsResponse.OUTCOME_LOST,
}


class ExpertStoreService(expert_store_pb2_grpc.ExpertStoreServiceServicer):
    def __init__(self, store: Store) -> None:
        self._store = store
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """Ends the streams that last as long as their callers, for a server that stops waits for what is open."""
        if not self._closed.done():
            self._closed.set_result(None)

    async def DescribeStore(
        self, request: expert_store_pb2.DescribeStoreRequest, context: Context
    ) -> expert_store_pb2.DescribeStoreResponse:
        statistics = self._store.statistics()
        return expert_store_pb2.DescribeStoreResponse(
            pack=str(self._store.pack.path),
            fingerprint=self._store.pack.fingerprint,
            arena=str(self._store.arena.path),
            epoch=self._store.arena.header.epoch,
            workers=self._store.pool.workers,
            experts_loaded=statistics.experts_loaded,
            bytes_read=statistics.bytes_read,
            workers_replaced=statistics.workers_replaced,
        )

    async def LoadExperts(
        self, request_iterator: AsyncIterator[expert_store_pb2.LoadExpertsRequest], context: Context
    ) -> AsyncIterator[expert_store_pb2.LoadExpertsResponse]:
        loading = answer_each(request_iterator, self._loaded, lambda _: False, self._closed)
        async with aclosing(loading) as loaded:
            async for message in loaded:
                yield message

    async def _loaded(
        self, request: expert_store_pb2.LoadExpertsRequest
    ) -> AsyncGenerator[expert_store_pb2.LoadExpertsResponse, None]:
        self._store.check_epoch(request.epoch)
        urgency = Urgency(request.urgency or Urgency.DEMAND)
        loads = [asyncio.ensure_future(self._load(placement, urgency)) for placement in request.placements]
        try:
            for done in asyncio.as_completed(loads):
                yield await done
        finally:
            for load in loads:
                load.cancel()

    async def CancelLoads(
        self, request: expert_store_pb2.CancelLoadsRequest, context: Context
    ) -> expert_store_pb2.CancelLoadsResponse:
        dropped = self._store.cancel(_keys(request.experts))
        if request.drain:
            await self._store.drain()
        return expert_store_pb2.CancelLoadsResponse(dropped=_named(dropped))

    async def HastenLoads(
        self, request: expert_store_pb2.HastenLoadsRequest, context: Context
    ) -> expert_store_pb2.HastenLoadsResponse:
        hastened = self._store.hasten(_keys(request.experts))
        return expert_store_pb2.HastenLoadsResponse(hastened=_named(hastened))

    async def _load(self, placement: expert_pb2.Placement, urgency: Urgency) -> expert_store_pb2.LoadExpertsResponse:
        named, act = placement.expert, Act(placement.act or Act.LOAD)
        slots = {part: Slot(slot.offset, slot.length) for part, slot in _slots(placement).items() if slot.length}
        outcome = await self._store.load(named.layer, named.expert, slots, urgency, act)
        return _to_pb(named, outcome)


def _keys(experts: Iterable[expert_pb2.ExpertId]) -> list[tuple[int, int]]:
    return [(named.layer, named.expert) for named in experts]


def _named(keys: Iterable[tuple[int, int]]) -> list[expert_pb2.ExpertId]:
    return [expert_pb2.ExpertId(layer=layer, expert=expert) for layer, expert in keys]


def _slots(placement: expert_pb2.Placement) -> dict[Part, expert_pb2.SlotRef]:
    return {
        Part.WORDS: placement.words,
        Part.SIGN_MANTISSAS: placement.sign_mantissas,
        Part.EXPONENTS: placement.exponents,
    }


def _to_pb(named: expert_pb2.ExpertId, outcome: Outcome) -> expert_store_pb2.LoadExpertsResponse:
    return expert_store_pb2.LoadExpertsResponse(
        expert=named,
        outcome=_OUTCOMES[outcome.result],
        detail=outcome.detail,
        bytes_read=outcome.bytes_read,
        read_nanoseconds=outcome.read_nanoseconds,
        decode_nanoseconds=outcome.decode_nanoseconds,
    )
