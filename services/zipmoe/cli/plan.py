"""zipmoe plan: what a pack needs, and how fast it would be, before anything is loaded."""

import os
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from zipmoe.cli.allotment import Allotment, allot
from zipmoe.cli.planning import Planned, dense_weights, planned
from zipmoe.cli.profile import profile_with_progress
from zipmoe.pack.reader import Pack
from zipmoe.plan.lookahead import lookahead
from zipmoe.plan.planner import plan as divide
from zipmoe.plan.popularity import popularity
from zipmoe.plan.prediction import Predictor

_GIB: Final = 1 << 30
_MIB: Final = 1 << 20


def plan(packed: Path, memory: str, resident: str, kv_tokens: int | None, prompt: int) -> None:
    console = Console()
    rates = profile_with_progress(packed).rates
    with Pack.open(packed) as pack:
        cores = os.cpu_count() or 1
        allotment = allot(pack, memory, resident, cores, kv_tokens)
        slots = allotment.slots
        found = planned(pack, rates, cores, cores, slots, resident)
        console.print(_memory(pack, allotment))
        console.print(_experts(found))
        console.print(_speed(pack, found, slots, prompt))
        console.print(_origin(found))


def _memory(pack: Pack, allotment: Allotment) -> Table:
    shape, budget = pack.geometry, allotment.budget
    about = f"{pack.path} · {shape.family}, {shape.layers} layers of {shape.experts} experts, stored as {pack.codec}"
    table = Table(title=about, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    table.add_row("memory", _mib(budget.memory))
    table.add_row("floor: the least that would do", _mib(allotment.floor))
    table.add_section()
    table.add_row("processes", _mib(budget.processes))
    table.add_row("weights that are no experts", _mib(budget.dense))
    table.add_row(f"keys and values of {allotment.kv_tokens} tokens", _mib(budget.sequences))
    table.add_row("for experts", _mib(budget.memory - budget.fixed))
    return table


def _experts(of: Planned) -> Table:
    """The pools, and how many experts they make resident in each state."""
    model, pools = of.model, of.found.pools
    full, compressed, sign_mantissas, exponents = pools.states
    absent = model.total - sum(pools.states)
    table = Table("experts", "number", "share", "MiB each", title=f"kept as {of.header.form}", title_justify="left")
    pair = model.sign_mantissas + model.exponents
    for name, count, size in (
        ("F, as BF16", full, model.words),
        ("C, packed", compressed, pair),
        ("S, without exponents", sign_mantissas, model.sign_mantissas),
        ("E, exponents alone", exponents, model.exponents),
        ("absent", absent, 0),
    ):
        if count or name.startswith(("C", "absent")):
            table.add_row(name, str(count), f"{count / model.total:.0%}", f"{size / _MIB:.2f}" if size else "")
    return table


def _speed(pack: Pack, of: Planned, slots: int, prompt: int) -> Table:
    """Now, and with a GiB more."""
    table = Table("decoding one sequence", "now", "with 1 GiB more", title="predicted", title_justify="left")
    predictor = Predictor(of.model, of.device, popularity(of.known.routing))
    columns = []
    for bytes_ in (slots, slots + _GIB):
        found = predictor.predict(divide(predictor, bytes_).pools)
        dense = dense_weights(pack)
        columns.append(
            (
                f"{found.hit_rate:.1%}",
                f"{found.bytes / _MIB:.1f}",
                f"{(found.seconds + predictor.dense(dense, 1)) * 1e3:.1f}",
                f"{predictor.prefill(found.pools, prompt) + predictor.dense(dense, prompt):.2f}",
            )
        )
    names = ("hits", "MiB read a token", "TPOT, ms", f"TTFT of {prompt} tokens, s")
    for name, now, more in zip(names, *columns, strict=True):
        table.add_row(name, now, more)
    return table


def _origin(of: Planned) -> str:
    layers = lookahead(of.found, of.model, of.device)
    ahead = f"{layers} layer{'s' * (layers > 1)} ahead" if layers else "off, layers do not wait for the disk"
    return f"forecasts: {ahead}; routing: {of.known.source}; device: zipmoe profile"


def _mib(size: int) -> str:
    return f"{size / _MIB:,.0f} MiB"
