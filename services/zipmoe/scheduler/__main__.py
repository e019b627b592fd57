"""python -m zipmoe.scheduler"""

import argparse
from functools import partial
from pathlib import Path

from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory
from zipmoe.arena.layout import PAGE, Partition, same_epoch, whole
from zipmoe.arena.leases import Leases
from zipmoe.arena.use import UseTable
from zipmoe.scheduler.scheduler import Scheduler
from zipmoe.scheduler.service import SchedulerService
from zipmoe.scheduler.slots import Slots
from zipmoe.scheduler.store_client import StoreClient
from zipmoe.v1 import scheduler_pb2_grpc
from zipmoe.wire import places
from zipmoe.wire.channel import connect
from zipmoe.wire.instance import only_instance
from zipmoe.wire.places import Places
from zipmoe.wire.server import run, serving


async def serve(places: Places) -> None:
    with only_instance(places.scheduler):
        async with connect(places.expert_store) as channel:
            store = StoreClient(channel)
            described = await store.describe()
            arena = Arena.open(Path(described.arena))
            same_epoch(described.epoch, arena.header.epoch, described.arena)
            scheduler = attach(arena)
            async with scheduler.running(store):
                service = SchedulerService(scheduler, described.arena)
                register = partial(scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server, service)
                async with serving(places.scheduler, register):
                    await scheduler.fatal


def attach(arena: Arena, wanted: Partition | None = None) -> Scheduler:
    """A scheduler over the arena's own pages: the partition, made if this arena has none yet, and the directory."""
    header = arena.header
    mine = arena.writable(PAGE, header.use_offset - PAGE)
    partition = arena.partition()
    if partition is None:
        partition = wanted or whole(header)
        record = partition.to_bytes(header.epoch)
        mine[: len(record)] = record
    directory = Directory(mine, header, start=PAGE)
    return Scheduler(header, Slots(header, partition, directory, UseTable(arena.memory, header), Leases(arena.path)))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zipmoe.scheduler",
        description="The scheduler: decides which experts lie in the arena. Waits for the expert store.",
    )
    places.add_arguments(parser)
    run("scheduler", serve(places.from_arguments(parser.parse_args())))


if __name__ == "__main__":
    main()
