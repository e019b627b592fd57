"""zipmoe up: the three services of one device, as children of this process."""

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from zipmoe.arena import arena
from zipmoe.arena.layout import Header, whole
from zipmoe.cli.allotment import allot, usual_tokens
from zipmoe.cli.planning import planned, record_file, sequence_bytes
from zipmoe.cli.profile import profile_with_progress
from zipmoe.cli.supervisor import Command, GaveUp, supervise
from zipmoe.errors import ZipMoEError
from zipmoe.expert_store.size import arena_header
from zipmoe.pack.reader import Pack
from zipmoe.plan.lookahead import lookahead
from zipmoe.plan.prediction import Pools
from zipmoe.wire.instance import only_instance
from zipmoe.wire.places import Places, default_run


@dataclass(frozen=True, slots=True)
class Door:
    """Where clients are let in beside the socket: host:port, and files (see `wire.public`)."""

    listen: str | None
    certificate: Path | None
    key: Path | None
    token: Path | None


@dataclass(frozen=True, slots=True)
class Ask:
    """What a person has asked for; None and empty: as is best. `arena_size` instead of `memory`, if it is given."""

    packed: Path
    memory: str
    arena_size: str | None
    resident: str
    mode: str
    workers: int | None
    threads: int | None
    door: Door
    forecast: int | None
    kv_tokens: int | None
    batch: int


def up(ask: Ask, run: Path | None) -> None:
    places = Places.under(run or default_run())
    console = Console(stderr=True)
    with only_instance(f"unix:{places.run}/up.sock"):
        start = _start(ask, console)
        console.print(start.table)
        where = ("--run", str(places.run), "--arena", str(places.arena))
        size = ("--arena-size", start.size, "--resident", start.form)
        commands = (
            _service("expert_store", "--pack", ask.packed, *size, "--workers", ask.workers, *where),
            _service("scheduler", "--pools", start.pools, *where),
            _service(
                *("inference", "--pack", ask.packed, "--mode", ask.mode, "--threads", ask.threads),
                *("--record", start.record, "--batch", ask.batch),
                *("--kv-tokens", start.kv_tokens, "--forecast", start.forecast, *where),
                *("--listen", ask.door.listen, "--tls-certificate", ask.door.certificate),
                *("--tls-key", ask.door.key, "--token", ask.door.token),
            ),
        )
        try:
            asyncio.run(_until_told(commands, places, console, ask.door.listen or places.inference))
        except GaveUp as error:
            raise ZipMoEError(f"the {error} cannot run, it says why above") from None


async def _until_told(commands: tuple[Command, ...], places: Places, console: Console, address: str) -> None:
    loop, served = asyncio.get_running_loop(), False

    def ready() -> None:
        nonlocal served
        served = True
        console.print(f"[bold]ready[/] at {address}   try: zipmoe generate 'def parse_args(' --address {address}")

    task = loop.create_task(supervise(commands, places.run, ready))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        # Its memory goes back to the device; not if the arena may be another's, whose store kept ours from starting.
        if served:
            arena.remove(places.arena)


def _service(name: str, *options: object) -> Command:
    """Options come in pairs; those whose value is None are left to the service's own default."""
    pairs = zip(options[::2], options[1::2], strict=True)
    given = [str(part) for pair in pairs if pair[1] is not None for part in pair]
    return Command(name, (sys.executable, "-m", f"zipmoe.{name}", *given))


@dataclass(frozen=True, slots=True)
class Start:
    """How the services are started, and what a person is told of it. `pools` is None for the plain ones."""

    size: str
    form: str
    pools: str | None
    record: Path
    forecast: int
    kv_tokens: int
    table: Table


def _start(ask: Ask, console: Console) -> Start:
    """As planned for this device. Raises what is wrong with the pack or the size."""
    cores = os.cpu_count() or 1
    workers, threads = ask.workers or cores, ask.threads or cores
    with Pack.open(ask.packed) as pack:
        # Where the arena's size is given, nobody needs to know what the processes take.
        allotment = None if ask.arena_size else allot(pack, ask.memory, ask.resident, workers, ask.kv_tokens)
        arena_size = str(allotment.arena) if allotment else str(ask.arena_size)
        kv_tokens = ask.kv_tokens or usual_tokens(pack)
        header = arena_header(pack, arena_size, ask.resident)
    found = None
    try:
        rates = profile_with_progress(ask.packed).rates
        with Pack.open(ask.packed) as pack:
            found = planned(pack, rates, workers, threads, header.size - header.slots_offset, ask.resident)
    except ZipMoEError as error:
        console.print(f"not planned, memory is divided as usual: {error}")
    size, pools = arena_size, None
    with Pack.open(ask.packed) as pack:
        if found is not None and found.header.form != header.form:
            size = str(header.size)
            header = arena_header(pack, size, found.header.form)
        partition = whole(header)
        if found is not None and found.found.pools.slots != tuple(pool.slots for pool in partition.pools):
            pools = found.found.pools
        record = record_file(pack)
        table = _table(pack, header, Pools(*(pool.slots for pool in partition.pools)) if pools is None else pools)
        kept = sequence_bytes(pack, kv_tokens)
    table.add_row("keys and values", f"{kept / 2**20:.1f} MiB: {kv_tokens} tokens")
    if allotment is not None:
        table.add_row("memory", f"{allotment.budget.memory / 2**20:.1f} MiB; {allotment.floor / 2**20:.1f} would do")
    layers = 0 if found is None else lookahead(found.found, found.model, found.device)
    layers = layers if ask.forecast is None else ask.forecast
    table.add_row("forecasts", f"{layers} layer{'s' * (layers > 1)} ahead" if layers else "off")
    slots = ",".join(map(str, pools.slots)) if pools else None
    return Start(size, header.form, slots, record, layers, kv_tokens, table)


def _table(pack: Pack, header: Header, pools: Pools) -> Table:
    shape = pack.geometry
    table = Table(title=f"{pack.path} · {shape.family}", show_header=False, title_justify="left")
    table.add_row("experts", f"{shape.layers} layers of {shape.experts}")
    table.add_row("in BF16", f"{header.records * shape.weights * 2 / 2**20:.1f} MiB")
    table.add_row("on disk", f"{pack.experts_path.stat().st_size / 2**20:.1f} MiB, {pack.codec}")
    full, compressed, sign_mantissas, exponents = pools.states
    states = [
        f"{count} experts, {count / header.records:.0%} of them, {how}"
        for count, how in (
            (full, "as bf16"),
            (compressed, f"as {header.form}"),
            (sign_mantissas, "without exponents"),
            (exponents, "without sign-mantissas"),
        )
        if count
    ]
    table.add_row("arena", f"{header.size / 2**20:.1f} MiB: {'; '.join(states)}")
    return table
