"""Decode: how many weights a second workers bring from stored bytes into the form that is multiplied.

Every worker is a process, as the store's are. What they decode is a sample of the pack in shared memory, so that they
wait for no disk; how long that reading takes is not counted.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from zipmoe.errors import WorkerLost
from zipmoe.pack.reader import Pack
from zipmoe.pack.writer import pack as write_pack
from zipmoe.profile.child import Child, child
from zipmoe.profile.form import FORMS, smallest
from zipmoe.profile.sample import write_checkpoint
from zipmoe.profile.timing import crowds, curve

# Enough chunks to go on with, in little memory.
SAMPLE_WEIGHTS: Final = 1 << 22
MOST_EXPERTS: Final = 32

DECODE_SECONDS: Final = 0.08


def write_sample(pack: Pack, folder: Path) -> None:
    """Makes `folder`, a checkpoint to be given to `decode`."""
    experts = min(MOST_EXPERTS, max(1, SAMPLE_WEIGHTS // pack.geometry.weights))
    write_checkpoint(pack, folder, experts, SAMPLE_WEIGHTS)


@contextmanager
def decoders(count: int) -> Iterator[list[Child]]:
    with ExitStack() as held:
        yield [
            held.enter_context(child("zipmoe.profile.decoder", stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(count)
        ]


def decode(sample: Path, codec: str, workers: Sequence[Child]) -> dict[int, float]:
    """Weights/s that so many of the workers at once decode together. WorkerLost if one of them dies."""
    packed = sample.with_name(f"{sample.name}.{codec}")
    write_pack(sample, packed, codec)
    with Pack.open(packed) as pack:
        bits = FORMS.get(codec, smallest(pack.expert(0, 0)))
    try:
        return curve(crowds(len(workers)), lambda crowd: _together(packed, bits, workers[:crowd]))
    finally:
        shutil.rmtree(packed)


def _together(packed: Path, bits: int, workers: Sequence[Child]) -> float:
    for worker in workers:
        _tell(worker, json.dumps([str(packed), bits, DECODE_SECONDS]))
    for worker in workers:
        _hear(worker)
    for worker in workers:
        _tell(worker, "go")
    return sum(1e9 / float(_hear(worker)) for worker in workers)


def _tell(worker: Child, line: str) -> None:
    assert worker.stdin is not None
    try:
        worker.stdin.write(line + "\n")
        worker.stdin.flush()
    except BrokenPipeError:
        raise _lost() from None


def _hear(worker: Child) -> str:
    assert worker.stdout is not None
    if not (line := worker.stdout.readline()):
        raise _lost()
    return line


def _lost() -> WorkerLost:
    return WorkerLost("a process that measures decoding died, see its message above")
