"""zipmoe pack and zipmoe verify, with a progress bar."""

from pathlib import Path

from rich.console import Console

from zipmoe.cli import source as sources
from zipmoe.cli.source import progress
from zipmoe.errors import InvalidRequest
from zipmoe.pack import manifest as manifests
from zipmoe.pack import verify as verifying
from zipmoe.pack import writer
from zipmoe.pack.manifest import Manifest


def pack(source: str, destination: Path | None, codec: str, free: bool) -> None:
    match sources.chosen(source):
        case Path() as folder:
            if free:
                raise InvalidRequest("--free is for what was downloaded: a folder of yours is left as it is")
            if destination is None:
                raise InvalidRequest(f"say where to: zipmoe pack {source} {folder.resolve().name}.zipmoe")
            target = destination
            with progress("packing") as report:
                made: Manifest | None = writer.pack(folder, target, codec, report)
        case name:
            target, made = sources.pack_from_hub(name, destination, codec, free)
    _show(target, made)


def verify(packed: str, against: str | None) -> None:
    path = sources.kept(packed)
    checkpoint = sources.checkpoint(against) if against else None
    with progress("verifying") as report:
        verified = verifying.verify(path, checkpoint, report)
    with_what = f"those of {against}, bit by bit" if against else "the hashes recorded when it was packed"
    Console(soft_wrap=True).print(
        f"{packed}: {verified.tensors} tensors, {verified.bytes / 2**20:.1f} MiB in BF16, equal {with_what}"
    )


def _show(path: Path, made: Manifest | None) -> None:
    manifest = made or manifests.load(path)
    size = sum(file.stat().st_size for file in path.iterdir())
    shape = manifest.geometry
    dense = sum(tensor.blob.weights for tensor in manifest.dense.values())
    original = 2 * (shape.layers * shape.experts * shape.weights + dense)
    here = "" if made else "was packed before: "
    Console(soft_wrap=True).print(
        f"{path}: {here}{size / 2**20:.1f} MiB, {size / original:.1%} of {original / 2**20:.1f} MiB in BF16"
    )
    if writer.TOKENIZER not in manifest.files:
        Console(stderr=True, soft_wrap=True).print(
            f"it has no {writer.TOKENIZER}, and cannot be served: put one beside the checkpoint, and pack again"
        )
