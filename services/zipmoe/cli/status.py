"""zipmoe status: a picture of the cache."""

import asyncio
from pathlib import Path

from rich.console import Console
from rich.table import Table

from zipmoe.v1 import scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import connect
from zipmoe.wire.places import Places, default_run
from zipmoe.wire.status import raised

_PATIENCE_SECONDS = 5.0


def status(run: Path | None) -> None:
    Console().print(_table(asyncio.run(_ask(Places.under(run or default_run()).scheduler))))


async def _ask(address: str) -> scheduler_pb2.GetCacheStatusResponse:
    async with connect(address) as channel:
        stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        with raised():
            return await stub.GetCacheStatus(scheduler_pb2.GetCacheStatusRequest(), timeout=_PATIENCE_SECONDS)


def _table(cache: scheduler_pb2.GetCacheStatusResponse) -> Table:
    table = Table(title=f"arena {cache.arena}", show_header=False, title_justify="left")
    table.add_row("experts", f"{cache.experts}")
    for pool in cache.pools:
        name = pool.part.replace("_", "-")
        table.add_row(f"slots for {name}", f"{pool.slots} of {pool.slot_bytes / 2**20:.2f} MiB, {pool.used} used")
    resident = cache.full + cache.compressed + cache.sign_mantissas + cache.exponents
    for name, value in (
        ("F", f"{cache.full} experts as BF16"),
        ("C", f"{cache.compressed} experts packed"),
        ("S", f"{cache.sign_mantissas} experts without their exponents"),
        ("E", f"{cache.exponents} experts without their sign-mantissas"),
        ("absent", f"{cache.experts - resident}, and {cache.loading} on their way"),
        ("leased now", f"{cache.leased}"),
        ("uses", f"{cache.uses} since the arena was made"),
        ("hit rate", f"{cache.hit_rate:.1%} since the scheduler started"),
        ("misses", f"{cache.misses}, {cache.partial_misses} of them lacking a plane alone"),
        ("evictions", f"{cache.evictions}, and {cache.demotions} that left a plane"),
        ("read from disk", f"{cache.bytes_read / 2**20:.1f} MiB"),
    ):
        table.add_row(name, value)
    return table
