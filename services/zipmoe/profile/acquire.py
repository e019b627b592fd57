"""Acquire: what a missing expert costs beside reading and decoding it, on its whole way through the real services.

The model is a stand-in: the pack's weights, but so few of them to an expert that reading and decoding takes next to
nothing. What is left is the way itself, the same for any expert; on the pack's own experts it would have to be told
from milliseconds of reading and decoding, which vary by more. Every expert has a slot and is acquired once.
"""

import asyncio
import statistics
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Final, TypeAlias

import grpc

from zipmoe.errors import ServiceRestarting
from zipmoe.pack.codec import codec
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch
from zipmoe.pack.writer import pack as write_pack
from zipmoe.profile.form import bring, smallest
from zipmoe.profile.sample import memory, write_checkpoint
from zipmoe.profile.services import Services, services
from zipmoe.profile.timing import seconds_of
from zipmoe.v1 import expert_pb2, scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import connect
from zipmoe.wire.exchange import Exchange

EXPERTS: Final = 320
WEIGHTS: Final = 3 << 10
ACQUIRE_SECONDS: Final = 0.4

_WARM: Final = 16
# Experts of which a cost is taken: processor time is counted in hundredths of a second, so there must be some.
_ROUND: Final = 32
_START_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.5

# In the type stubs alone, hence the quotes.
Stub: TypeAlias = "scheduler_pb2_grpc.SchedulerServiceAsyncStub"
Acquired = Exchange[scheduler_pb2.AcquireExpertsRequest, scheduler_pb2.AcquireExpertsResponse]
# Seconds, and seconds of processor time.
Cost = tuple[float, float]


def acquire(pack: Pack, folder: Path, workers: int) -> Cost:
    """Of an expert that is missing, beside reading and decoding it. Works in `folder`, which is new and on tmpfs.

    Raises ServiceRestarting if the services do not start."""
    write_checkpoint(pack, folder / "few", EXPERTS, WEIGHTS)
    write_pack(folder / "few", folder / "few.zipmoe", pack.codec)
    alone = _alone(folder / "few.zipmoe")
    with services(folder / "few.zipmoe", folder, workers) as running:
        whole = asyncio.run(_acquire(running))
    # Never nothing, whatever the clocks say.
    return max(1e-6, whole[0] - alone[0]), max(1e-6, whole[1] - alone[1])


def _alone(packed: Path) -> Cost:
    """What reading and decoding one of the experts costs."""
    with Pack.open(packed) as pack, Scratch() as scratch:
        how, file, blobs = codec(pack.codec), pack.experts_file, pack.manifest.experts[0]
        bits = smallest(blobs[0])
        slot = memory(max(blob.resident_bytes(bits) for blob in blobs))
        used = process_time()
        times = [seconds_of(partial(bring, file, blob, how, bits, slot, scratch)) for blob in blobs]
        return statistics.median(times), (process_time() - used) / len(times)


async def _acquire(running: Services) -> Cost:
    async with connect(running.places.scheduler) as channel:
        stub: Stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        epoch, acquired = await _epoch(stub, running), Acquired(stub.AcquireExperts)
        for number in range(_WARM):
            await _one(acquired, epoch, number)
        costs, ends = list[Cost](), perf_counter() + ACQUIRE_SECONDS
        for first in range(_WARM, EXPERTS - _ROUND, _ROUND):
            used = running.processor_seconds()
            times = [await _one(acquired, epoch, number) for number in range(first, first + _ROUND)]
            costs.append((statistics.median(times), (running.processor_seconds() - used) / _ROUND))
            if perf_counter() > ends:
                break
        seconds, used = (statistics.median(part) for part in zip(*costs, strict=True))
        return seconds, used


async def _one(acquired: Acquired, epoch: int, number: int) -> float:
    """Seconds until an expert has been granted."""
    request = scheduler_pb2.AcquireExpertsRequest(
        epoch=epoch, phase=scheduler_pb2.PHASE_DECODE, experts=[expert_pb2.ExpertId(expert=number)]
    )
    started = granted = perf_counter()
    async for _ in acquired.ask(request, 1):
        granted = perf_counter()
    return granted - started


async def _epoch(stub: Stub, running: Services) -> int:
    """The arena's, once the services are up."""
    ends, request = perf_counter() + _START_SECONDS, scheduler_pb2.GetCacheStatusRequest()
    while True:
        try:
            return (await stub.GetCacheStatus(request, wait_for_ready=True, timeout=_LOOK_SECONDS)).epoch
        except grpc.aio.AioRpcError:
            # One that has ended is not waited for.
            if running.ended or perf_counter() > ends:
                raise ServiceRestarting(f"the services to measure do not start, they said: {running.said}") from None
