"""zipmoe up: the three services of one device, as children of this process."""

import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from zipmoe.arena import arena
from zipmoe.cli.start import Wish, start
from zipmoe.cli.supervisor import Command, GaveUp, supervise
from zipmoe.errors import ZipMoEError
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
    """What a person has asked for."""

    wish: Wish
    mode: str
    batch: int
    door: Door


def up(ask: Ask, run: Path | None) -> None:
    places = Places.under(run or default_run())
    console, packed, door = Console(stderr=True), ask.wish.packed, ask.door
    with only_instance(f"unix:{places.run}/up.sock"):
        as_planned = start(ask.wish, console)
        console.print(as_planned.table)
        where = ("--run", str(places.run), "--arena", str(places.arena))
        size = ("--arena-size", as_planned.size, "--resident", as_planned.form)
        commands = (
            _service("expert_store", "--pack", packed, *size, "--workers", as_planned.workers, *where),
            _service("scheduler", "--pools", ",".join(map(str, as_planned.pools)), *where),
            _service(
                *("inference", "--pack", packed, "--mode", ask.mode, "--threads", as_planned.threads),
                *("--record", as_planned.record, "--batch", ask.batch),
                *("--kv-tokens", as_planned.kv_tokens, "--forecast", as_planned.forecast, *where),
                *("--listen", door.listen, "--tls-certificate", door.certificate),
                *("--tls-key", door.key, "--token", door.token),
            ),
        )
        try:
            asyncio.run(_until_told(commands, places, console, door.listen or places.inference))
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
