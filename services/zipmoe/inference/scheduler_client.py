"""Inference's door to the scheduler: converts and calls."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc

from zipmoe.errors import ServiceRestarting
from zipmoe.v1 import expert_pb2, scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import PATIENCE_SECONDS
from zipmoe.wire.status import raised


class SchedulerClient:
    """Experts are numbered through all layers, `experts` to a layer."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)

    async def arena(self) -> Path:
        """Where the arena is. Waits for as long as it takes until the scheduler is up."""
        with raised():
            answer = await self._stub.GetCacheStatus(scheduler_pb2.GetCacheStatusRequest(), wait_for_ready=True)
        return Path(answer.arena)

    async def until_reachable(self) -> None:
        """Raises ServiceRestarting if the scheduler stays away."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), PATIENCE_SECONDS)
        except TimeoutError:
            raise ServiceRestarting(f"the scheduler was away for {PATIENCE_SECONDS:.0f} s: see its log") from None

    async def acquire(self, epoch: int, experts: int, numbers: Iterable[int], prefill: bool) -> AsyncIterator[int]:
        """Yields each number when that expert has become resident."""
        request = scheduler_pb2.AcquireExpertsRequest(
            epoch=epoch,
            phase=scheduler_pb2.PHASE_PREFILL if prefill else scheduler_pb2.PHASE_DECODE,
            experts=[expert_pb2.ExpertId(layer=number // experts, expert=number % experts) for number in numbers],
        )
        with raised():
            async for message in self._stub.AcquireExperts(request):
                yield message.expert.layer * experts + message.expert.expert
