"""python -m zipmoe.expert_store --pack MODEL.zipmoe --arena-size 30%"""

import argparse
import asyncio
import os
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from zipmoe.arena.arena import Arena
from zipmoe.arena.leases import MOST_WORKERS, Leases
from zipmoe.expert_store.pool import Pool
from zipmoe.expert_store.service import ExpertStoreService
from zipmoe.expert_store.size import FORMS, arena_header
from zipmoe.expert_store.store import Store, until_writers_are_gone
from zipmoe.pack.reader import Pack
from zipmoe.v1 import expert_store_pb2_grpc
from zipmoe.wire import places
from zipmoe.wire.instance import only_instance
from zipmoe.wire.places import Places
from zipmoe.wire.server import run, serving


@dataclass(frozen=True, slots=True)
class StoreConfig:
    pack: Path
    places: Places
    arena_size: str
    resident: str
    workers: int

    @classmethod
    def from_arguments(cls) -> Self:
        parser = argparse.ArgumentParser(
            prog="python -m zipmoe.expert_store",
            description="The expert store: makes the arena and brings experts into it, decoded by worker processes.",
        )
        parser.add_argument("--pack", type=Path, required=True, help="the packed model")
        parser.add_argument(
            "--arena-size",
            default=os.environ.get("ZIPMOE_ARENA_SIZE", "50%"),
            help="memory for experts: 6GiB, 300MiB, or a share of the model's experts in BF16 [%(default)s]",
        )
        parser.add_argument(
            "--resident",
            choices=("auto", *FORMS),
            default=os.environ.get("ZIPMOE_RESIDENT", "auto"),
            help="how experts lie in memory: pack3 or pack4 (about 11 or 12 bits a weight, multiplied as they are), "
            "bf16, or what is smallest [%(default)s]",
        )
        parser.add_argument(
            "--workers",
            type=int,
            choices=range(1, MOST_WORKERS + 1),
            metavar="N",
            default=os.environ.get("ZIPMOE_WORKERS") or os.cpu_count() or 1,
            help="decoding processes [%(default)s]",
        )
        places.add_arguments(parser)
        arguments = parser.parse_args()
        where = places.from_arguments(arguments)
        return cls(arguments.pack, where, arguments.arena_size, arguments.resident, arguments.workers)


async def serve(config: StoreConfig) -> None:
    with only_instance(config.places.expert_store), Pack.open(config.pack) as pack:
        wanted = arena_header(pack, config.arena_size, config.resident)
        await until_writers_are_gone(Leases(config.places.arena))
        arena = Arena.create(config.places.arena, wanted)
        pool = Pool(pack.experts_path, pack.codec, config.places.arena, config.workers)
        async with pool.running():
            service = ExpertStoreService(Store(pack, arena, pool))
            register = partial(expert_store_pb2_grpc.add_ExpertStoreServiceServicer_to_server, service)
            async with serving(config.places.expert_store, register):
                with closing(service):
                    await asyncio.Event().wait()


def main() -> None:
    run("expert store", serve(StoreConfig.from_arguments()))


if __name__ == "__main__":
    main()
