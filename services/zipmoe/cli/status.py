"""zipmoe status: a picture of the requests and the cache."""

import asyncio
from pathlib import Path

import grpc
from rich.console import Console
from rich.table import Table

from zipmoe.v1 import inference_pb2, inference_pb2_grpc, scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import connect
from zipmoe.wire.places import Places, default_run
from zipmoe.wire.status import raised

_PATIENCE_SECONDS = 5.0


def status(run: Path | None) -> None:
    cache, load = asyncio.run(_ask(Places.under(run or default_run())))
    Console().print(_requests(load))
    Console().print(_table(cache))


async def _ask(places: Places) -> tuple[scheduler_pb2.GetCacheStatusResponse, inference_pb2.GetLoadResponse | None]:
    """The second is None if inference is away."""
    async with connect(places.scheduler) as scheduler, connect(places.inference) as inference:
        stub = scheduler_pb2_grpc.SchedulerServiceStub(scheduler)
        with raised():
            cache = await stub.GetCacheStatus(scheduler_pb2.GetCacheStatusRequest(), timeout=_PATIENCE_SECONDS)
        try:
            asked = inference_pb2_grpc.InferenceServiceStub(inference)
            return cache, await asked.GetLoad(inference_pb2.GetLoadRequest(), timeout=_PATIENCE_SECONDS)
        except grpc.aio.AioRpcError:
            return cache, None


def _requests(load: inference_pb2.GetLoadResponse | None) -> Table:
    table = Table(title="requests", show_header=False, title_justify="left")
    if load is None:
        table.add_row("inference", "does not answer at its socket")
        return table
    table.add_row("running", f"{load.running}, and {load.waiting} waiting")
    kept = f"{load.pages_used * load.page_tokens} of {load.pages * load.page_tokens} tokens"
    table.add_row("keys and values", kept)
    table.add_row("tokens", f"{load.tokens} in {load.steps} steps since inference started")
    return table


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
        ("read ahead", _ahead(cache)),
    ):
        table.add_row(name, value)
    return table


def _ahead(cache: scheduler_pb2.GetCacheStatusResponse) -> str:
    read, used = cache.forecast_bytes_read, cache.forecast_bytes_used
    return f"{read / 2**20:.1f} MiB of it, {used / read:.0%} of that was used" if read else "nothing of it"
