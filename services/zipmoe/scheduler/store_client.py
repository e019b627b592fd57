"""The scheduler's door to the expert store: converts and calls."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import grpc

from zipmoe.v1 import expert_pb2, expert_store_pb2, expert_store_pb2_grpc
from zipmoe.wire.channel import PATIENCE_SECONDS
from zipmoe.wire.status import raised

Response = expert_store_pb2.LoadExpertsResponse


@dataclass(frozen=True, slots=True)
class Description:
    fingerprint: str
    arena: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Slot:
    """Bytes from the arena's start, and how many."""

    offset: int
    length: int


class StoreClient:
    """Experts are numbered through all layers, `experts` to a layer."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = expert_store_pb2_grpc.ExpertStoreServiceStub(channel)

    async def describe(self) -> Description:
        """Waits for as long as it takes until the store is up."""
        with raised():
            answer = await self._stub.DescribeStore(expert_store_pb2.DescribeStoreRequest(), wait_for_ready=True)
        return Description(answer.fingerprint, answer.arena, answer.epoch)

    async def load(
        self, epoch: int, experts: int, slots: Iterable[tuple[int, Slot]]
    ) -> AsyncIterator[tuple[int, Response]]:
        """Loads each numbered expert into its slot; yields (number, what became of it) in the order of completion.

        Raises ServiceRestarting if the store goes away: then `drain` before the remaining slots are used again.
        """
        request = expert_store_pb2.LoadExpertsRequest(
            epoch=epoch,
            urgency=expert_pb2.URGENCY_DEMAND,
            placements=[
                expert_pb2.Placement(
                    expert=expert_pb2.ExpertId(layer=expert // experts, expert=expert % experts),
                    slot=expert_pb2.SlotRef(offset=slot.offset, length=slot.length),
                )
                for expert, slot in slots
            ],
        )
        with raised():
            async for message in self._stub.LoadExperts(request):
                yield message.expert.layer * experts + message.expert.expert, message

    async def cancel(self, experts: int, numbers: Iterable[int]) -> None:
        """Drops the loads of these that have not started. Their `load` says so."""
        named = [expert_pb2.ExpertId(layer=number // experts, expert=number % experts) for number in numbers]
        with raised():
            await self._stub.CancelLoads(expert_store_pb2.CancelLoadsRequest(experts=named), timeout=PATIENCE_SECONDS)

    async def drain(self) -> None:
        """Returns when nothing is queued and nothing is being written, by this store or one before it."""
        request = expert_store_pb2.CancelLoadsRequest(drain=True)
        with raised():
            await self._stub.CancelLoads(request, wait_for_ready=True, timeout=PATIENCE_SECONDS)
