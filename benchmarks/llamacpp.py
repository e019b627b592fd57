"""How a contestant is timed, and llama.cpp as one: from a GGUF file, through llama-cpp-python's bindings of its C API.

Nothing here imports torch: it would bring a second OpenMP into llama.cpp's process, and zipmoe.inference tells both how
to wait.
"""

import ctypes
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.gguf_file import peer

THREADS, PROMPT = 2, 32
READ_BYTES = 64 << 20
MOST_FAULTS = 100  # reads of the disk, of 4 KiB or more, in a timed pass


class Contestant(Protocol):
    def begin(self, prompt: Sequence[int], /) -> None: ...
    def step(self, token: int, /) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Timed:
    seconds: float  # a token, median over passes
    about: str


class LlamaCpp:
    """Some sequences that run together. Experts and all lie in the page cache, mapped, as far as there is room."""

    def __init__(
        self, path: Path, threads: int, context: int, flash: bool | None = None, sequences: int = 1, batch: int = 512
    ) -> None:
        """`context` tokens for each of the sequences; `batch` tokens of prompts are computed together. With flash
        attention, without, or as llama.cpp thinks best."""
        self._llama = llama = peer("llama_cpp").llama_cpp
        # Held, for llama.cpp keeps only its address.
        self._log = llama.llama_log_callback(_keep_errors)
        llama.llama_log_set(self._log, ctypes.c_void_p(0))
        llama.llama_backend_init()
        about = llama.llama_model_default_params()
        about.load_mode = llama.LLAMA_LOAD_MODE_MMAP
        about.n_gpu_layers = 0
        self._model = llama.llama_model_load_from_file(str(path).encode(), about)
        if not self._model:
            raise SystemExit(f"llama.cpp cannot load {path}: remove it, and it will be made again")
        self._how = how = llama.llama_context_default_params()
        how.n_ubatch, how.n_batch = batch, max(batch, how.n_batch)
        how.n_threads = how.n_threads_batch = threads
        if flash is not None:
            how.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._context, self._lengths = None, list[int]()
        self.room(context, sequences)
        self._vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))

    def room(self, context: int, sequences: int) -> None:
        """Another number of sequences, and of tokens that each may have. Forgets all."""
        if self._context:
            self._llama.llama_free(self._context)
        self._how.n_ctx, self._how.n_seq_max = context * sequences, sequences
        self._context = self._llama.llama_init_from_model(self._model, self._how)
        if not self._context:
            raise SystemExit("llama.cpp cannot make a context")
        self._lengths = [0] * sequences

    def begin(self, *prompts: Sequence[int]) -> None:
        """Forgets, and reads a prompt for each sequence but for its logits."""
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        self._lengths = [0] * len(prompts)
        self._decode(prompts)

    def step(self, *tokens: int) -> NDArray[np.float32]:
        """Logits [vocabulary] of the last sequence after one token more of each. They are llama.cpp's own, valid until
        the next step."""
        self._decode([(token,) for token in tokens])
        return self.logits()

    def logits(self) -> NDArray[np.float32]:
        """The last sequence's."""
        found = self._llama.llama_get_logits_ith(self._context, -1)
        return np.frombuffer(
            (ctypes.c_float * self._vocabulary).from_address(ctypes.addressof(found.contents)), np.float32
        )

    def _decode(self, parts: Sequence[Sequence[int]]) -> None:
        """The next tokens of each sequence; their last ones have logits."""
        llama = self._llama
        batch = llama.llama_batch_init(sum(map(len, parts)), 0, 1)
        try:
            for sequence, tokens in enumerate(parts):
                for token in tokens:
                    at = batch.n_tokens
                    batch.token[at], batch.pos[at], batch.logits[at] = token, self._lengths[sequence], 0
                    batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
                    batch.n_tokens += 1
                    self._lengths[sequence] += 1
                batch.logits[batch.n_tokens - 1] = 1
            if llama.llama_decode(self._context, batch):
                raise SystemExit("llama_decode failed")
        finally:
            llama.llama_batch_free(batch)


def measure(contestant: Contestant, about: str, stream: Sequence[int], passes: int, logits: Path) -> Timed:
    """Warms with one pass and keeps its logits; then times passes of TOKENS."""
    contestant.begin(stream[:PROMPT])
    np.save(logits, np.stack([contestant.step(token).copy() for token in stream[PROMPT:]]))
    times = []
    for _ in range(passes):
        contestant.begin(stream[:PROMPT])
        faults, started = resource.getrusage(resource.RUSAGE_SELF).ru_majflt, time.perf_counter()
        for token in stream[PROMPT:]:
            contestant.step(token).argmax()
        times.append((time.perf_counter() - started) / len(stream[PROMPT:]))
        if resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults > MOST_FAULTS:
            raise SystemExit(f"{about} read from the disk while it was timed: there is too little free memory")
    return Timed(statistics.median(times), about)


def measure_llamacpp(weights: Path, stream: Sequence[int], passes: int, logits: Path) -> Timed:
    """With flash attention or without, whichever is faster."""
    found = []
    into_page_cache(weights)
    for flash in (False, True):
        contestant = LlamaCpp(weights, THREADS, len(stream), flash, batch=64)
        about = f"{version()}, flash attention {'on' if flash else 'off'}"
        found.append(measure(contestant, about, stream, passes, logits))
    return min(found, key=lambda timed: timed.seconds)


def version() -> str:
    """Of the bindings, and what the library was compiled for."""
    llama = peer("llama_cpp")
    features = llama.llama_cpp.llama_print_system_info().decode()
    return f"llama-cpp-python {llama.__version__}: {' '.join(features.split())}"


def into_page_cache(path: Path) -> None:
    buffer = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _keep_errors(level: int, text: bytes, _: Any) -> None:
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        print(text.decode(), end="", file=sys.stderr)
