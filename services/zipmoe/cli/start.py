"""Start: how the services of this device are to be started with a pack, as planned."""

import os
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from zipmoe.arena.layout import Header, whole
from zipmoe.cli.allotment import Allotment, allot, usual_tokens
from zipmoe.cli.planning import planned, record_file, sequence_bytes
from zipmoe.cli.profile import profile_with_progress
from zipmoe.errors import ZipMoEError
from zipmoe.expert_store.size import arena_header
from zipmoe.pack.reader import Pack
from zipmoe.plan.lookahead import lookahead
from zipmoe.plan.prediction import Pools


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person has asked for; None and empty: as is best. `arena_size` instead of `memory`, if it is given."""

    packed: Path
    memory: str = ""
    arena_size: str | None = None
    resident: str = "auto"
    workers: int | None = None
    threads: int | None = None
    forecast: int | None = None
    kv_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """`fingerprint` is the model's, `size` the arena's, `pools` the slots for each part of experts; `table` tells a
    person. There is an allotment if memory was asked for as one number."""

    fingerprint: str
    size: int
    form: str
    pools: tuple[int, ...]
    record: Path
    workers: int
    threads: int
    forecast: int
    kv_tokens: int
    allotment: Allotment | None
    table: Table


def start(wish: Wish, console: Console, processes: int | None = None) -> Start:
    """`processes` is what those take that will run, in bytes; None: those of `zipmoe up`, measured if need be. Raises
    what is wrong with the pack or the size."""
    cores = os.cpu_count() or 1
    workers, threads = wish.workers or cores, wish.threads or cores
    with Pack.open(wish.packed) as pack:
        # Where the arena's size is given, nobody needs to know what the processes take.
        allotment = (
            None if wish.arena_size else allot(pack, wish.memory, wish.resident, workers, wish.kv_tokens, processes)
        )
        arena_size = str(allotment.arena) if allotment else str(wish.arena_size)
        kv_tokens = wish.kv_tokens or usual_tokens(pack)
        header = arena_header(pack, arena_size, wish.resident)
    found = None
    try:
        rates = profile_with_progress(wish.packed).rates
        with Pack.open(wish.packed) as pack:
            found = planned(pack, rates, workers, threads, header.size - header.slots_offset, wish.resident)
    except ZipMoEError as error:
        console.print(f"not planned, memory is divided as usual: {error}")
    with Pack.open(wish.packed) as pack:
        if found is not None and found.header.form != header.form:
            header = arena_header(pack, str(header.size), found.header.form)
        pools = Pools(*(pool.slots for pool in whole(header).pools)) if found is None else found.found.pools
        record, fingerprint = record_file(pack), pack.fingerprint
        table = _table(pack, header, pools)
        kept = sequence_bytes(pack, kv_tokens)
    table.add_row("keys and values", f"{kept / 2**20:.1f} MiB: {kv_tokens} tokens")
    if allotment is not None:
        table.add_row("memory", f"{allotment.budget.memory / 2**20:.1f} MiB; {allotment.floor / 2**20:.1f} would do")
    layers = 0 if found is None else lookahead(found.found, found.model, found.device)
    layers = layers if wish.forecast is None else wish.forecast
    table.add_row("forecasts", f"{layers} layer{'s' * (layers > 1)} ahead" if layers else "off")
    return Start(
        fingerprint,
        header.size,
        header.form,
        pools.slots,
        record,
        workers,
        threads,
        layers,
        kv_tokens,
        allotment,
        table,
    )


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
