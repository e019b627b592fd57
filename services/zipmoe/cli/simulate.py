"""zipmoe simulate: policies on routing, in seconds."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track
from rich.table import Table

from zipmoe.cli.planning import record_file
from zipmoe.cli.profile import profile_with_progress
from zipmoe.expert_store.size import arena_header
from zipmoe.pack.reader import Pack
from zipmoe.plan.cost import Device, Found, layer_seconds
from zipmoe.plan.model import Model
from zipmoe.routing.record import must_read
from zipmoe.routing.routing import Routing
from zipmoe.simulate.contest import RAW, WORD_BITS, Result, contest
from zipmoe.simulate.shape import shape
from zipmoe.simulate.synthetic import synthetic

REQUEST: Final = 100  # tokens

# Seconds of a step under a policy.
Seconds = Callable[[Result], float]


def made_up(
    like: str, budgets: list[float], batch: int, layers: int, tokens: int, bits: float, disk: float, seed: int
) -> None:
    of = shape(like)
    routing = synthetic(of, layers, -(-tokens // REQUEST), REQUEST, seed)
    _show(routing, of.weights, budgets, bits, batch, "ms of disk", lambda result: result.bytes / disk / 1e9)
    Console().print(
        f"{routing.tokens} tokens in {layers} layers like {like}, routed at random as {of.statistics} routes on "
        f"average (seed {seed}); a disk of {disk:g} GB/s. {_LEGEND}"
    )


def recorded(packed: Path, budgets: list[float], batch: int) -> None:
    cores = os.cpu_count() or 1
    device = Device(profile_with_progress(packed).rates, cores, cores)
    with Pack.open(packed) as pack:
        routing = must_read(record_file(pack), pack.fingerprint)
        model = Model.of(pack, arena_header(pack, "100%", "auto"))
        raw = replace(Model.of(pack, arena_header(pack, "100%", "bf16")), codec="raw", stored=model.sign_mantissas)

    def seconds(result: Result) -> float:
        """Of a step's experts: what each layer found, at what that costs."""
        kept = raw if result.policy == RAW else model
        total = 0.0
        for (wanted, missing), times in result.found.found.items():
            here = wanted - missing
            found = Found(full=here, absent=missing) if result.policy == RAW else Found(compressed=here, absent=missing)
            total += times * layer_seconds(found, ((batch * model.k / wanted, 1.0),), kept, device)
        return total * model.layers / result.found.found.total()

    bits = 8 * (model.sign_mantissas + model.exponents) / model.weights
    _show(routing, model.weights, budgets, bits, batch, "ms a step", seconds)
    Console().print(f"{routing.tokens} tokens that were decoded here; experts alone, on this device. {_LEGEND}")


def _show(
    routing: Routing, weights: int, budgets: list[float], bits: float, batch: int, unit: str, seconds: Seconds
) -> None:
    table = Table("memory", "policy", "bits", "resident", "hits", "MiB a step", unit, "of raw lru")
    for budget in track(budgets, "replaying", transient=True):
        for result in contest(routing, weights, budget, bits, batch):
            table.add_row(
                f"{budget:.0%}" if result.policy == RAW else "",
                result.policy,
                f"{result.bits:.4g}",
                f"{result.resident:.0%}",
                f"{result.found.hit_rate:.1%}",
                f"{result.bytes / 2**20:.1f}",
                f"{1e3 * seconds(result):.1f}",
                f"{result.raw:.2f}",
            )
        table.add_section()
    Console().print(table)


_LEGEND: Final = (
    f"Memory is a share of all experts in BF16; raw lru keeps and reads {WORD_BITS} bits a weight; belady knows the "
    "future, and nothing can read less."
)
