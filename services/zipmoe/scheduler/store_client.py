"""The scheduler's door to the expert store: converts and calls."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import grpc

from zipmoe.arena.layout import Part, Slot
from zipmoe.v1 import expert_pb2, expert_store_pb2, expert_store_pb2_grpc
from zipmoe.wire.channel import PATIENCE_SECONDS
from zipmoe.wire.exchange import Exchange
from zipmoe.wire.status import raised

Response = expert_store_pb2.LoadExpertsResponse
Act: TypeAlias = expert_pb2.Placement.Act
Urgency: TypeAlias = expert_pb2.Urgency

LOAD, RECOVER, REDUCE = expert_pb2.Placement.ACT_LOAD, expert_pb2.Placement.ACT_RECOVER, expert_pb2.Placement.ACT_REDUCE
DEMAND, FORECAST, KEEP = expert_pb2.URGENCY_DEMAND, expert_pb2.URGENCY_FORECAST, expert_pb2.URGENCY_KEEP

_FIELDS: Final = {Part.WORDS: "words", Part.SIGN_MANTISSAS: "sign_mantissas", Part.EXPONENTS: "exponents"}


@dataclass(frozen=True, slots=True)
class Description:
    fingerprint: str
    arena: str
    epoch: int
    workers: int


@dataclass(frozen=True, slots=True)
class Placement:
    """What is to be done with an expert, and where its parts lie or shall lie."""

    expert: int
    act: Act
    slots: Mapping[Part, Slot]


class StoreClient:
    """Experts are numbered through all layers, `experts` to a layer."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = expert_store_pb2_grpc.ExpertStoreServiceStub(channel)
        self._loads: Exchange[expert_store_pb2.LoadExpertsRequest, Response] = Exchange(self._stub.LoadExperts)

    async def describe(self) -> Description:
        """Waits for as long as it takes until the store is up."""
        with raised():
            answer = await self._stub.DescribeStore(expert_store_pb2.DescribeStoreRequest(), wait_for_ready=True)
        return Description(answer.fingerprint, answer.arena, answer.epoch, answer.workers)

    async def load(
        self, epoch: int, experts: int, placements: Iterable[Placement], urgency: Urgency
    ) -> AsyncIterator[tuple[int, Response]]:
        """Fills these slots; yields (expert's number, what became of it) in the order of completion.

        Raises ServiceRestarting if the store goes away: then `drain` before the remaining slots are used again.
        """
        named = [_to_pb(placement, experts) for placement in placements]
        request = expert_store_pb2.LoadExpertsRequest(epoch=epoch, urgency=urgency, placements=named)
        async for message in self._loads.ask(request, len(named)):
            yield message.expert.layer * experts + message.expert.expert, message

    async def cancel(self, experts: int, numbers: Iterable[int]) -> None:
        """Drops the loads of these that have not started. Their `load` says so."""
        request = expert_store_pb2.CancelLoadsRequest(experts=_named(experts, numbers))
        with raised():
            await self._stub.CancelLoads(request, timeout=PATIENCE_SECONDS)

    async def hasten(self, experts: int, numbers: Iterable[int]) -> None:
        """Makes demands of those of these loads that have not started."""
        request = expert_store_pb2.HastenLoadsRequest(experts=_named(experts, numbers))
        with raised():
            await self._stub.HastenLoads(request, timeout=PATIENCE_SECONDS)

    async def drain(self) -> None:
        """Returns when nothing is queued and nothing is being written, by this store or one before it."""
        request = expert_store_pb2.CancelLoadsRequest(drain=True)
        with raised():
            await self._stub.CancelLoads(request, wait_for_ready=True, timeout=PATIENCE_SECONDS)


def _named(experts: int, numbers: Iterable[int]) -> list[expert_pb2.ExpertId]:
    return [expert_pb2.ExpertId(layer=number // experts, expert=number % experts) for number in numbers]


def _to_pb(placement: Placement, experts: int) -> expert_pb2.Placement:
    layer, expert = divmod(placement.expert, experts)
    slots = {
        _FIELDS[part]: expert_pb2.SlotRef(offset=at.offset, length=at.length) for part, at in placement.slots.items()
    }
    return expert_pb2.Placement(expert=expert_pb2.ExpertId(layer=layer, expert=expert), act=placement.act, **slots)
