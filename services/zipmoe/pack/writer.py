"""Writer: makes a pack. It is written beside its destination and renamed when it is whole and on the disk; what was
interrupted goes on where it stopped when the same command runs again."""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

from xxhash import xxh3_64_intdigest, xxh3_128

from zipmoe.errors import DiskFull, InvalidRequest
from zipmoe.pack import manifest
from zipmoe.pack.appender import Appender
from zipmoe.pack.blob import Blob, chunks, padded
from zipmoe.pack.checkpoint import Checkpoint
from zipmoe.pack.codec import Codec
from zipmoe.pack.codec import codec as codec_named
from zipmoe.pack.disk import free_bytes, mib, sync_folder, write_durably
from zipmoe.pack.encode import encode
from zipmoe.pack.family import Run, geometry, runs
from zipmoe.pack.geometry import Geometry
from zipmoe.pack.journal import JOURNAL, Journal
from zipmoe.pack.manifest import DENSE, EXPERTS, DenseTensor, Manifest

# (bytes of the checkpoint done, of how many, what is done now)
Progress = Callable[[int, int, str], None]

# Without it a pack can be proved, not served.
TOKENIZER = "tokenizer.json"
SMALL_FILES = (
    "config.json",
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
SPARE = 1.05  # of the estimated bytes: experts compress alike, not equally


def pack(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], codec: str = "zstd", progress: Progress | None = None
) -> Manifest:
    """Pack the checkpoint in folder `src` into the new folder `dst`.

    InvalidRequest if the checkpoint is not one that can be packed, `dst` exists, or DST.partial is of another job;
    CorruptExpert if a shard is damaged; DiskFull before or in the middle, and the same command then goes on."""
    how, target = codec_named(codec), Path(dst).absolute()
    if target.exists():
        raise InvalidRequest(f"{target} exists: remove it, or pack to another destination")
    with Checkpoint(src) as checkpoint:
        sizes = geometry(checkpoint.config)
        todo = runs(checkpoint.tensors, sizes)
        partial = target.with_name(target.name + ".partial")
        try:
            partial.mkdir(parents=True, exist_ok=True)
            return _write(checkpoint, sizes, todo, how, partial, target, progress or _silent)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFull(
                f"the disk of {partial} is full, {mib(free_bytes(partial))} are free: make room, then run the same "
                "command again, it goes on where it stopped"
            ) from None


def _write(
    checkpoint: Checkpoint,
    sizes: Geometry,
    todo: Sequence[Run],
    how: Codec,
    partial: Path,
    target: Path,
    progress: Progress,
) -> Manifest:
    total, done = sum(2 * run.weights for run in todo), 0
    with ExitStack() as held:
        journal = held.enter_context(Journal(partial, _job(checkpoint, how)))
        experts, dense = (held.enter_context(Appender(partial / name)) for name in (EXPERTS, DENSE))
        blobs: list[Blob] = []
        for run, (name, blob) in zip(todo, journal.finished(), strict=False):
            file = dense if run.key is None else experts
            if name != run.name or blob.weights != run.weights or not file.holds(blob):
                break
            file.end = blob.end
            blobs.append(blob)
            done += 2 * run.weights
            progress(done, total, f"{run.name} is there")
        journal.keep()
        experts.truncate()
        dense.truncate()

        missing = todo[len(blobs) :]
        _check_free(checkpoint, missing, how, partial)
        with closing(encode(checkpoint, missing, how)) as encoded:
            for run in missing:
                count = sum(1 for _ in chunks(run.weights))
                file = dense if run.key is None else experts
                blob = file.append(run.weights, islice(encoded, count), islice(encoded, count))
                journal.append(run.name, blob)
                blobs.append(blob)
                done += 2 * run.weights
                progress(done, total, run.name)

        experts.sync()
        dense.sync()
        files = _copy_small_files(checkpoint, partial)
        made = _manifest(checkpoint, sizes, how, todo, blobs, files)
        manifest.save(made, partial)
        sync_folder(partial)
        partial.rename(target)
        (target / JOURNAL).unlink()
        sync_folder(target.parent)
    return made


def _manifest(
    checkpoint: Checkpoint,
    sizes: Geometry,
    how: Codec,
    todo: Sequence[Run],
    blobs: Sequence[Blob],
    files: dict[str, int],
) -> Manifest:
    found = {run.key: blob for run, blob in zip(todo, blobs, strict=True) if run.key is not None}
    experts = tuple(tuple(found[layer, expert] for expert in range(sizes.experts)) for layer in range(sizes.layers))
    dense = {
        run.name: DenseTensor(run.tensors[0].shape, blob)
        for run, blob in zip(todo, blobs, strict=True)
        if run.key is None
    }
    fingerprint = xxh3_128(checkpoint.config_bytes)
    for name, blob in sorted(zip((run.name for run in todo), blobs, strict=True), key=lambda pair: pair[0]):
        fingerprint.update(name.encode() + b"\0" + blob.original_hash.to_bytes(8, "little"))
    return Manifest(how.name, fingerprint.hexdigest(), sizes, experts, dense, files)


def _job(checkpoint: Checkpoint, how: Codec) -> list[object]:
    """What must be the same for a partial pack to go on: codec, config and every shard, by its size and time."""
    stats = [(path.name, path.stat()) for path in checkpoint.shards]
    shards = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    return [manifest.VERSION, how.name, xxh3_64_intdigest(checkpoint.config_bytes), shards]


def _check_free(checkpoint: Checkpoint, missing: Sequence[Run], how: Codec, partial: Path) -> None:
    """DiskFull if what is missing will not fit, as far as its first run tells."""
    if not missing:
        return
    count = sum(1 for _ in chunks(missing[0].weights))
    with closing(encode(checkpoint, missing[:1], how)) as encoded:
        stored = sum(padded(len(chunk.stored)) for chunk in islice(encoded, count))
    share = stored / missing[0].weights
    needed = int(SPARE * sum(padded(int(share * run.weights)) + padded(run.weights) for run in missing))
    free = free_bytes(partial)
    if needed > free:
        raise DiskFull(
            f"packing needs about {mib(needed)} more, {mib(free)} are free on the disk of {partial}: make "
            "room, or pack to another disk"
        )


def _copy_small_files(checkpoint: Checkpoint, partial: Path) -> dict[str, int]:
    """Their hashes."""
    hashes = {}
    for name in SMALL_FILES:
        if (checkpoint.folder / name).exists():
            text = checkpoint.config_bytes if name == "config.json" else (checkpoint.folder / name).read_bytes()
            write_durably(partial / name, text)
            hashes[name] = xxh3_64_intdigest(text)
    return hashes


def _silent(done: int, total: int, what: str) -> None:
    """No progress asked for."""
