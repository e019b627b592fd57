"""A worker process: takes one task at a time from its socket, brings an expert into its slots, answers, waits again.

    python -m zipmoe.expert_store.worker SOCKET_FD INDEX EXPERTS_FILE CODEC ARENA

Started by `pool` alone. It holds a lock while it lives, so that everybody can tell when nothing is being written any
more, and ends when its socket does. Small on purpose: neither grpc nor asyncio nor numpy is imported here.
"""

import os
import socket
import sys
from functools import partial
from pathlib import Path

from zipmoe.arena import huge_pages
from zipmoe.arena.leases import WORKERS, Leases
from zipmoe.errors import CorruptExpert
from zipmoe.expert_store.task import Act, Outcome, Result, Task
from zipmoe.pack.blob import Blob, padded, slot_bytes
from zipmoe.pack.codec import Codec, codec
from zipmoe.pack.file import PackFile
from zipmoe.pack.recode import recover, reduce
from zipmoe.pack.restore import Restored, Scratch, restore, restore_exponents, restore_sign_mantissas

# A message is one datagram: a task's blob lists the sizes of its chunks, about 5 bytes a million weights.
LARGEST_MESSAGE = 1 << 16


def main() -> None:
    descriptor, index, experts_file, codec_name, arena_path = sys.argv[1:]
    pipe = socket.socket(fileno=int(descriptor))
    leases = Leases(Path(arena_path))
    if not leases.claim(WORKERS + int(index)):
        sys.exit(f"worker {index} of {arena_path} is still alive")
    arena = _map(arena_path)
    with PackFile(experts_file) as file, Scratch() as scratch:
        worker = partial(_do, arena=arena, file=file, codec=codec(codec_name), scratch=scratch)
        pipe.send(b"ready")
        while message := pipe.recv(LARGEST_MESSAGE):
            pipe.send(worker(Task.from_bytes(message)).to_bytes())


def _map(path: str) -> memoryview:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return huge_pages.shared(descriptor, os.fstat(descriptor).st_size, writable=True)
    finally:
        os.close(descriptor)


def _do(task: Task, arena: memoryview, file: PackFile, codec: Codec, scratch: Scratch) -> Outcome:
    blob = Blob.from_wire(task.blob)
    plane = arena[task.sign_mantissas :][: padded(blob.weights)]
    parts = arena[task.exponents :][: blob.part_bytes(task.bits) if task.bits else 0]
    words = arena[task.words :][: slot_bytes(blob.weights)]
    restored = Restored(0, 0, 0)
    try:
        if task.act is Act.RECOVER:
            recover(blob, plane, parts, words, scratch)
        elif task.act is Act.REDUCE:
            reduce(blob, words, task.bits, plane, parts, scratch)
        elif task.words:
            restored = restore(file, blob, codec, words, scratch)
        else:
            if task.sign_mantissas:
                restored += restore_sign_mantissas(file, blob, plane)
            if task.exponents:
                restored += restore_exponents(file, blob, codec, task.bits, parts, scratch)
    except CorruptExpert as error:
        return Outcome(Result.CORRUPT, str(error))
    except OSError as error:
        return Outcome(Result.LOST, f"the disk failed: {error}")
    return Outcome(Result.LOADED, "", restored.bytes_read, restored.read_ns, restored.decode_ns)


if __name__ == "__main__":
    main()
