"""zipmoe up: the three services of one device, as children of this process."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from zipmoe.arena import arena
from zipmoe.arena.layout import whole
from zipmoe.cli.supervisor import Command, GaveUp, supervise
from zipmoe.errors import ZipMoEError
from zipmoe.expert_store.size import arena_header
from zipmoe.pack.reader import Pack
from zipmoe.wire.instance import only_instance
from zipmoe.wire.places import Places, default_run


def up(
    packed: Path,
    arena_size: str,
    resident: str,
    mode: str,
    workers: int | None,
    threads: int | None,
    listen: str | None,
    run: Path | None,
) -> None:
    places = Places.under(run or default_run())
    console = Console(stderr=True)
    with only_instance(f"unix:{places.run}/up.sock"):
        console.print(_plan(packed, arena_size, resident))
        where = ("--run", str(places.run), "--arena", str(places.arena))
        size = ("--arena-size", arena_size, "--resident", resident)
        commands = (
            _service("expert_store", "--pack", packed, *size, "--workers", workers, *where),
            _service("scheduler", *where),
            _service("inference", "--pack", packed, "--mode", mode, "--threads", threads, "--listen", listen, *where),
        )
        try:
            asyncio.run(_until_told(commands, places, console, listen or places.inference))
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


def _plan(packed: Path, arena_size: str, resident: str) -> Table:
    """What is about to be served, before anything is loaded. Raises what is wrong with the pack or the size."""
    with Pack.open(packed) as pack:
        shape, header = pack.geometry, arena_header(pack, arena_size, resident)
        slots = whole(header).experts
        table = Table(title=f"{packed} · {shape.family}", show_header=False, title_justify="left")
        table.add_row("experts", f"{shape.layers} layers of {shape.experts}")
        table.add_row("in BF16", f"{header.records * shape.weights * 2 / 2**20:.1f} MiB")
        table.add_row("on disk", f"{pack.experts_path.stat().st_size / 2**20:.1f} MiB, {pack.codec}")
        share = f"{slots} experts, {slots / header.records:.0%} of them, as {header.form}"
        table.add_row("arena", f"{header.size / 2**20:.1f} MiB: {share}")
        return table
