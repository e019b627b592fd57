"""Verify: proof that a pack is the checkpoint, bit for bit."""

import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

from zipmoe.errors import CorruptExpert, InvalidRequest
from zipmoe.pack.blob import CHUNK, Blob, slot_bytes
from zipmoe.pack.checkpoint import Checkpoint
from zipmoe.pack.codec import codec
from zipmoe.pack.encode import read_run
from zipmoe.pack.family import FAMILIES, Run, geometry, runs
from zipmoe.pack.file import PackFile
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch, restore
from zipmoe.pack.writer import Progress

_COMPARED_AT_ONCE = 2 * CHUNK


@dataclass(frozen=True, slots=True)
class Verified:
    """How many tensors, and how many BF16 bytes of them, are as they were."""

    tensors: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Stored:
    name: str
    blob: Blob
    file: PackFile
    tensors: int


def verify(
    pack_path: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Restore every tensor and compare it with the hash recorded when it was packed; with `against`, a checkpoint's
    folder, also with its bytes there.

    CorruptExpert at the first difference, with tensor, file and offset; InvalidRequest if `pack_path` is no pack, or
    `against` a checkpoint that it cannot be of."""
    with ExitStack() as held:
        pack = held.enter_context(Pack.open(pack_path))
        for name in pack.manifest.files:
            pack.small_file(name)
        checkpoint = held.enter_context(Checkpoint(against)) if against is not None else None
        sources = _sources(pack, checkpoint) if checkpoint is not None else {}
        stored = list(_stored(pack))
        total, done = sum(2 * item.blob.weights for item in stored), 0
        how, scratch = codec(pack.codec), held.enter_context(Scratch())
        memory = mmap.mmap(-1, max(slot_bytes(item.blob.weights) for item in stored))
        for item in stored:
            slot = memoryview(memory)
            try:
                restore(item.file, item.blob, how, slot, scratch)
            except CorruptExpert as error:
                raise CorruptExpert(f"{item.name}: {error}") from None
            words = slot[: 2 * item.blob.weights]
            if xxh3_64_intdigest(words) != item.blob.original_hash:
                raise _differs(item.name, item, "the words that were packed")
            if checkpoint is not None:
                _compare(item, words, checkpoint, sources[item.name])
            done += len(words)
            if progress is not None:
                progress(done, total, item.name)
        return Verified(sum(item.tensors for item in stored), total)


def _stored(pack: Pack) -> Iterator[_Stored]:
    """Everything in a pack, in the order of its bytes."""
    sizes = pack.geometry
    family = FAMILIES[sizes.family]
    for layer in range(sizes.layers):
        for expert in range(sizes.experts):
            name = family.expert(sizes.sparse[layer], expert).rstrip(".")
            yield _Stored(name, pack.expert(layer, expert), pack.experts_file, len(family.parts))
    for name, (_, blob) in pack.dense.items():
        yield _Stored(name, blob, pack.dense_file, 1)


def _sources(pack: Pack, checkpoint: Checkpoint) -> dict[str, Run]:
    """The checkpoint's runs by name, after everything but their bytes has been found equal."""
    sizes = geometry(checkpoint.config)
    found = {run.name: run for run in runs(checkpoint.tensors, sizes)}
    shapes = {name: run.tensors[0].shape for name, run in found.items() if run.key is None}
    if sizes != pack.geometry or shapes != {name: shape for name, (shape, _) in pack.dense.items()}:
        raise InvalidRequest(f"{pack.path} was not packed from {checkpoint.folder}: tensors or their shapes differ")
    if pack.small_file("config.json") != checkpoint.config_bytes:
        raise CorruptExpert(f"{pack.path}/config.json differs from {checkpoint.folder}'s; pack the checkpoint again")
    return found


def _compare(item: _Stored, words: memoryview, checkpoint: Checkpoint, run: Run) -> None:
    for at in range(0, len(words), _COMPARED_AT_ONCE):
        here = words[at : at + _COMPARED_AT_ONCE]
        there = bytearray(len(here))
        read_run(checkpoint, run, at, memoryview(there))
        if here == there:
            continue
        first = at + next(i for i, (ours, theirs) in enumerate(zip(here, there, strict=True)) if ours != theirs)
        for tensor in run.tensors:
            if first < tensor.size:
                raise _differs(tensor.name, item, f"{tensor.path} from its byte {tensor.offset + first} on")
            first -= tensor.size


def _differs(name: str, item: _Stored, what: str) -> CorruptExpert:
    return CorruptExpert(
        f"{name}, in {item.file.path} at {item.blob.offset}, differs from {what}; pack the checkpoint again"
    )
