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

from benchmarks.gguf_olmoe import peer

THREADS, PROMPT = 2, 32
READ_BYTES = 64 << 20
MOST_FAULTS = 100  # reads of the disk, of 4 KiB or more, in a timed pass


class Contestant(Protocol):
    def begin(self, prompt: Sequence[int]) -> None: ...
    def step(self, token: int) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Timed:
    seconds: float  # a token, median over passes
    about: str


class LlamaCpp:
    """One sequence. Experts and all lie in the page cache, mapped."""

    def __init__(self, path: Path, threads: int, context: int, flash: bool) -> None:
        self._llama = llama = peer("llama_cpp").llama_cpp
        # Held, for llama.cpp keeps only its address.
        self._log = llama.llama_log_callback(_keep_errors)
        llama.llama_log_set(self._log, ctypes.c_void_p(0))
        llama.llama_backend_init()
        into_page_cache(path)
        about = llama.llama_model_default_params()
        about.load_mode = llama.LLAMA_LOAD_MODE_MMAP
        about.n_gpu_layers = 0
        model = llama.llama_model_load_from_file(str(path).encode(), about)
        if not model:
            raise SystemExit(f"llama.cpp cannot load {path}: remove it, and it will be made again")
        how = llama.llama_context_default_params()
        how.n_ctx = context
        how.n_batch = how.n_ubatch = 64
        how.n_threads = how.n_threads_batch = threads
        how.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._context = llama.llama_init_from_model(model, how)
        if not self._context:
            raise SystemExit("llama.cpp cannot make a context")
        self._vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))

    def begin(self, prompt: Sequence[int]) -> None:
        """Forgets, and reads the prompt but for its logits."""
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        self._decode(prompt)

    def step(self, token: int) -> NDArray[np.float32]:
        """Logits [vocabulary] after one token more. They are llama.cpp's own, valid until the next step."""
        self._decode((token,))
        found = self._llama.llama_get_logits_ith(self._context, -1)
        return np.frombuffer(
            (ctypes.c_float * self._vocabulary).from_address(ctypes.addressof(found.contents)), np.float32
        )

    def _decode(self, tokens: Sequence[int]) -> None:
        given = (self._llama.llama_token * len(tokens))(*tokens)
        # The last token alone has logits.
        if self._llama.llama_decode(self._context, self._llama.llama_batch_get_one(given, len(tokens))):
            raise SystemExit("llama_decode failed")


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
    for flash in (False, True):
        contestant = LlamaCpp(weights, THREADS, len(stream), flash)
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
