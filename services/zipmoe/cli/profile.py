"""zipmoe profile: what this device does with a pack, as a person reads it."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from zipmoe.pack.reader import Pack
from zipmoe.profile import progress
from zipmoe.profile.kept import Profile
from zipmoe.profile.profile import profile as profiled

# Load average a core, before measuring, from which on others have slowed it down.
_BUSY: Final = 0.4


def profile(packed: Path, again: bool) -> None:
    found = profile_with_progress(packed, again)
    with Pack.open(packed) as pack:
        expert = 2 * pack.geometry.weights
    console = Console()
    for table in _tables(found, expert):
        console.print(table)
    console.print(_source(found))


def profile_with_progress(packed: Path, again: bool = False) -> Profile:
    """The kept profile, or one that is measured now."""
    with _progress() as report:
        return profiled(packed, again, report)


def _tables(found: Profile, expert: int) -> Iterator[Table]:
    """`expert` is the size of one in BF16 bytes: GB/s of decoding and multiplying are of that."""
    rates = found.rates
    disk = {readers: f"{rate / 1e9:.2f}" for readers, rate in rates.disk.items()}
    yield _table("reading experts, GB/s from disk", "readers at once", {"together": disk})
    decode = {
        codec: {workers: f"{2 * rate / 1e9:.2f}" for workers, rate in curve.items()}
        for codec, curve in rates.decode.items()
    }
    yield _table("decoding, GB/s of BF16", "workers at once", decode)
    multiply = {
        form: {rows: f"{seconds * 1e3:.3f} ({expert / seconds / 1e9:.1f})" for rows, seconds in curve.items()}
        for form, curve in rates.multiply.items()
    }
    yield _table("multiplying, ms an expert (GB/s of BF16)", "rows", multiply)
    costs = Table(title="besides", show_header=False, title_justify="left")
    costs.add_row("a read of 4 KiB", f"{rates.seek * 1e3:.2f} ms")
    costs.add_row("a missing expert", f"{rates.acquire * 1e3:.2f} ms, {rates.acquire_cpu * 1e3:.2f} ms of processors")
    costs.add_row("a lease", f"{rates.lease * 1e6:.1f} µs")
    yield costs


def _table(title: str, head: str, rows: Mapping[str, Mapping[int, str]]) -> Table:
    columns = [str(at) for at in next(iter(rows.values()))]
    table = Table(head, *columns, title=title, title_justify="left")
    for name, row in rows.items():
        table.add_row(name, *row.values())
    return table


def _source(found: Profile) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.measured))
    place = f"kept in {found.file}" if found.file else "not kept: the cache cannot be written to ($ZIPMOE_CACHE)"
    busy = found.load > _BUSY * (os.cpu_count() or 1)
    advice = f" while others ran (load average {found.load:.1f}), measure --again when they do not" if busy else ""
    return f"measured {when}{advice}; {place}"


@contextmanager
def _progress() -> Iterator[progress.Progress]:
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=f"measuring {what}")
