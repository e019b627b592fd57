"""Measure: all of the rates, one after the other, in this process and children of it.

It imports numpy and grpc and runs an event loop: `profile` has it done in a process of its own.
"""

import itertools
import os
import tempfile
from pathlib import Path

from zipmoe.pack.codec import CODECS
from zipmoe.pack.reader import Pack
from zipmoe.plan.rates import Rates
from zipmoe.profile.acquire import acquire
from zipmoe.profile.decode import decode, decoders, write_sample
from zipmoe.profile.disk import disk, seek
from zipmoe.profile.form import FORMS
from zipmoe.profile.lease import lease
from zipmoe.profile.multiply import multiply
from zipmoe.profile.progress import Progress


def measure(packed: Path, progress: Progress) -> Rates:
    """What this device does with this pack, with as many workers and threads as it has cores. Takes seconds, and the
    numbers are worth most while nothing else runs. Nothing is left behind.

    InvalidRequest or CorruptExpert if something is wrong with the pack; WorkerLost or ServiceRestarting if a child
    dies; DiskFull or OSError if the device lacks something, room in shared memory for one.
    """
    cores, steps = os.cpu_count() or 1, itertools.count()

    def now(what: str) -> None:
        progress(next(steps), 2 + len(CODECS) + len(FORMS), what)

    with Pack.open(packed) as pack, _folder() as place:
        folder = Path(place)
        now("reading")
        readers, at_once = disk(pack, cores), seek(pack)
        decoding, multiplying = dict[str, dict[int, float]](), dict[str, dict[int, float]]()
        write_sample(pack, folder / "sample")
        with decoders(cores) as workers:
            for codec in CODECS:
                now(f"decoding {codec}")
                decoding[codec] = decode(folder / "sample", codec, workers)
        for form in FORMS:
            now(f"multiplying {form}")
            multiplying[form] = multiply(pack, form, cores, folder)
        now("acquiring")
        acquiring, used = acquire(pack, folder, cores)
        return Rates(readers, at_once, decoding, multiplying, acquiring, used, lease(folder))


def _folder() -> "tempfile.TemporaryDirectory[str]":
    """In shared memory, where the services' arena has to be."""
    return tempfile.TemporaryDirectory(prefix=f"zipmoe-profile-{os.getpid()}-", dir="/dev/shm")
