"""python -m zipmoe.scheduler"""

import argparse
import os
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory
from zipmoe.arena.layout import FEWEST_SLOTS, PAGE, Header, Part, Partition, divide, same_epoch, whole
from zipmoe.arena.leases import Leases
from zipmoe.arena.use import UseTable
from zipmoe.errors import CacheExhausted, InvalidRequest
from zipmoe.scheduler.order import ORDERS, Order
from zipmoe.scheduler.policy import POLICIES, Worth, affinity
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


async def serve(places: Places, pools: Sequence[int] | None, order: Order, decoding: float, worth: Worth) -> None:
    with only_instance(places.scheduler):
        async with connect(places.expert_store) as channel:
            store = StoreClient(channel)
            described = await store.describe()
            arena = Arena.open(Path(described.arena))
            same_epoch(described.epoch, arena.header.epoch, described.arena)
            partition = None if pools is None else divided(arena.header, pools)
            scheduler = attach(arena, partition, order, decoding, worth)
            async with scheduler.running(store):
                service = SchedulerService(scheduler, described.arena)
                register = partial(scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server, service)
                async with serving(places.scheduler, register):
                    with closing(service):
                        await scheduler.fatal


def divided(header: Header, pools: Sequence[int]) -> Partition:
    """The arena in so many slots of each part. Raises CacheExhausted where it has no room for them, InvalidRequest for
    slots that no expert can be multiplied from."""
    partition, packed = divide(header, *pools), min(pools[Part.SIGN_MANTISSAS], pools[Part.EXPONENTS])
    if max(pools[Part.WORDS], packed) < FEWEST_SLOTS or (not header.bits and pools[Part.EXPONENTS]):
        raise InvalidRequest(
            f"--pools {pools}: {FEWEST_SLOTS} slots or more for words, or for each plane if kept packed"
        )
    if partition.end > header.size:
        raise CacheExhausted(
            f"--pools {pools} need {partition.end / 2**20:.1f} MiB, the arena has {header.size / 2**20:.1f}: "
            "give it more memory (--arena-size), or ask for fewer slots"
        )
    return partition


def attach(
    arena: Arena,
    wanted: Partition | None = None,
    order: Order = ORDERS["tokens"],
    decoding: float = 0.0,
    worth: Worth = affinity,
) -> Scheduler:
    """A scheduler over the arena's own pages: the partition, made if this arena has none yet, and the directory."""
    header = arena.header
    mine = arena.writable(PAGE, header.use_offset - PAGE)
    partition = arena.partition()
    if partition is None:
        partition = wanted or whole(header)
        record = partition.to_bytes(header.epoch)
        mine[: len(record)] = record
    directory = Directory(mine, header, start=PAGE)
    slots = Slots(header, partition, directory, UseTable(arena.memory, header), Leases(arena.path), worth)
    return Scheduler(header, slots, order, decoding)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zipmoe.scheduler",
        description="The scheduler: decides which experts lie in the arena. Waits for the expert store.",
    )
    parser.add_argument(
        "--pools",
        type=counts,
        default=os.environ.get("ZIPMOE_POOLS"),
        metavar="WORDS,SIGN_MANTISSAS,EXPONENTS",
        help="slots for each part of experts, as planned [as many as there is room for, in the arena's own form]",
    )
    parser.add_argument(
        "--order",
        type=order,
        default=os.environ.get("ZIPMOE_ORDER", "tokens"),
        metavar="ORDER",
        help="in which a layer's missing experts are brought in: most tokens first (tokens), so that disk and cores "
        "are busy together (affinity), by Johnson's rule (johnson), or as they were asked for (asked) [%(default)s]",
    )
    parser.add_argument(
        "--decoding",
        type=float,
        default=os.environ.get("ZIPMOE_DECODING", "0"),
        metavar="BYTES",
        help="that the disk reads while a core decodes one exponent, for the order [%(default)s]",
    )
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        default="affinity",
        help="who goes when a slot is needed; all but affinity are there to be measured against it [%(default)s]",
    )
    places.add_arguments(parser)
    arguments = parser.parse_args()
    where, worth = places.from_arguments(arguments), POLICIES[arguments.policy]
    run("scheduler", serve(where, arguments.pools, arguments.order, arguments.decoding, worth))


def counts(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if len(numbers) != len(Part) or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} (or ZIPMOE_POOLS) is not three numbers of slots: 0,300,300")
    return tuple(map(int, numbers))


def order(name: str) -> Order:
    if name not in ORDERS:
        raise argparse.ArgumentTypeError(f"{name!r} (or ZIPMOE_ORDER) is no order: choose one of {', '.join(ORDERS)}")
    return ORDERS[name]


if __name__ == "__main__":
    main()
