"""zipmoe synth: make a synthetic checkpoint, or measure one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from zipmoe.synth import measure as measuring
from zipmoe.synth import writer
from zipmoe.synth.preset import preset
from zipmoe.synth.statistics import Statistics, distance, share_of


def synth(like: str, layers: int | None, seed: int, destination: Path) -> None:
    model = preset(like).with_layers(layers)
    with _progress("making", DownloadColumn(), TransferSpeedColumn()) as report:
        size = writer.write(model, seed, destination, report)
    Console().print(
        f"{destination}: {size / 2**20:.1f} MiB in BF16, {model.config['num_hidden_layers']} layers like {like}, "
        f"random weights of seed {seed}"
    )


def measure(checkpoint: Path, requests: int, tokens: int) -> None:
    with _progress("measuring", MofNCompleteColumn()) as report:
        found = measuring.measure(checkpoint, requests, tokens, report)
    table = Table("share of a layer's activations, or of a token's experts", "measured", "target", "target from")
    for name, value, target, source in _rows(found.routing, found.target, found.model):
        table.add_row(name, value, target, source)
    Console().print(table)
    Console().print(
        f"{requests} requests of {tokens} random tokens. An exponent carries {found.entropy:.3f} bits. "
        f"RMS of the stream: {found.rms[0]:.2f} in the first layer, {found.rms[-1]:.2f} in the last."
    )


def _rows(found: Statistics, target: Statistics, model: str) -> list[tuple[str, str, str, str]]:
    def row(name: str, value: float, aim: float | None, source: str) -> tuple[str, str, str, str]:
        return name, f"{value:.3f}", "" if aim is None else f"{aim:.3f}", source

    rows = []
    for kind, mine, aim in (
        ("over all requests", found.static, target.static),
        ("within a request", found.per_request, target.per_request),
    ):
        rows += [
            row(f"most popular {part:.0%} of experts, {kind}", share_of(part, mine), share_of(part, aim), model)
            for part in (0.25, 0.5)
        ]
        rows.append(row(f"most popular expert, {kind}", float(mine[0]), float(aim[0]), model))
        rows.append(row(f"would have to move, {kind}", distance(mine, aim), 0, model))
    rows.append(row("shared with the token before", found.adjacent, target.adjacent, "Qwen3-30B-A3B"))
    rows.append(row("the same by chance", found.chance, None, ""))
    if found.forecast is not None:
        rows.append(row("foretold by the layer before", found.forecast, None, ""))
    return rows


@contextmanager
def _progress(what: str, *columns: ProgressColumn) -> Iterator[Callable[[int, int, str], None]]:
    shown = (TextColumn("{task.description:<44}"), BarColumn(), *columns, TimeRemainingColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, name: bar.update(task, completed=done, total=total, description=f"{what} {name}")
