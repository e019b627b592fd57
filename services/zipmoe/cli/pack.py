"""zipmoe pack and zipmoe verify, with a progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from zipmoe.pack import verify as verifying
from zipmoe.pack import writer

Report = Callable[[int, int, str], None]


def pack(source: Path, destination: Path, codec: str) -> None:
    with _progress("packing") as report:
        manifest = writer.pack(source, destination, codec, report)
    size = sum(file.stat().st_size for file in destination.iterdir())
    shape = manifest.geometry
    dense = sum(tensor.blob.weights for tensor in manifest.dense.values())
    original = 2 * (shape.layers * shape.experts * shape.weights + dense)
    Console().print(
        f"{destination}: {size / 2**20:.1f} MiB, {size / original:.1%} of {original / 2**20:.1f} MiB in BF16"
    )


def verify(packed: Path, against: Path | None) -> None:
    with _progress("verifying") as report:
        verified = verifying.verify(packed, against, report)
    with_what = f"those of {against}, bit by bit" if against else "the hashes recorded when it was packed"
    Console().print(
        f"{packed}: {verified.tensors} tensors, {verified.bytes / 2**20:.1f} MiB in BF16, equal {with_what}"
    )


@contextmanager
def _progress(what: str) -> Iterator[Report]:
    columns = (TextColumn("{task.description:<32}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, name: bar.update(task, completed=done, total=total, description=f"{what} {name}")
