"""Mapped: llama.cpp as a contestant. Its file is mapped, and as much of it in memory as the kernel keeps there.

    python -m benchmarks.peers.mapped FILE.gguf VOCABULARY PHASES...

Nothing here imports torch (see benchmarks.llamacpp).
"""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from benchmarks.llamacpp import THREADS, LlamaCpp, version
from benchmarks.peers.contest import Counts, contest
from benchmarks.peers.extent import context
from benchmarks.peers.streams import Stream


class Mapped:
    def __init__(self, file: Path) -> None:
        self.about = version()
        self._llama = LlamaCpp(file, THREADS, context(1))
        self._sequences = 1

    def begin(self, streams: Sequence[Stream], prompt: int) -> None:
        if len(streams) != self._sequences:
            self._sequences = len(streams)
            self._llama.room(context(len(streams)), len(streams))
        self._streams, self._at = streams, prompt
        self._llama.begin(*(stream[:prompt] for stream in streams))
        self._llama.logits()

    def step(self) -> None:
        self._llama.step(*(stream[self._at] for stream in self._streams))
        self._at += 1

    def counts(self) -> Counts:
        return {}

    def still(self) -> AbstractContextManager[object]:
        return nullcontext()


if __name__ == "__main__":
    file, vocabulary, *asked = sys.argv[1:]
    contest(Mapped(Path(file)), int(vocabulary), asked)
