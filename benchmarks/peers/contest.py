"""Contest: what every contestant does in its own process, and says on its standard output, a JSON object a phase.

Before and after it decodes one sequence it says "pause", and waits for a line: the machine's rates are measured then.

Tokens are forced: a contestant takes in a stream's prompt, and then each next token of the stream, whatever it would
have written itself.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from benchmarks.group import Group
from benchmarks.peers.extent import (
    BATCHES,
    CONTEXT_OF_MANY,
    PROMPT,
    PROMPTS,
    context,
    still_first,
    still_timing,
    still_warming,
)
from benchmarks.peers.streams import Stream, streams
from benchmarks.peers.usage import used

# Uses of experts, or whatever else a contestant can tell; they only grow.
Counts = Mapping[str, int]


class Writer(Protocol):
    about: str

    def begin(self, streams: Sequence[Stream], prompt: int) -> None:
        """Forgets all, and takes in the first `prompt` tokens of each: then the next token could be told."""

    def step(self) -> None:
        """Takes in the next token of each, in one step of all together: then the one behind it could be told."""

    def counts(self) -> Counts: ...

    def still(self) -> AbstractContextManager[object]:
        """Nothing is computed while it lasts."""


def contest(writer: Writer, vocabulary: int, phases: Sequence[str]) -> None:
    """The phases start, decode-1, ttft-16, ttft-256, decode-4, decode-16, those of them that are asked for."""
    (first,) = streams(vocabulary, "decode", 1, context(1))
    writer.begin([first], PROMPT)
    tell("start", at=time.monotonic(), about=writer.about)
    for phase in phases:
        kind, number = phase.split("-")
        if kind == "ttft":
            tell(phase, **_first_tokens(writer, vocabulary, int(number)))
        else:
            tell(phase, **_decode(writer, vocabulary, int(number)))


def phases(all_: bool) -> list[str]:
    """All behind the start, or decoding of one sequence alone."""
    one, *many = (f"decode-{batch}" for batch in BATCHES)
    return [one, *(f"ttft-{prompt}" for prompt in PROMPTS), *many] if all_ else [one]


def _first_tokens(writer: Writer, vocabulary: int, prompt: int) -> dict[str, Any]:
    """Times to first token, of a prompt after the other."""
    seconds = list[float]()
    while still_first(len(seconds), sum(seconds)):
        texts = streams(vocabulary, f"ttft {len(seconds)}", 1, prompt + 1)
        started = time.perf_counter()
        writer.begin(texts, prompt)
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds}


def _decode(writer: Writer, vocabulary: int, batch: int) -> dict[str, Any]:
    """Times of steps, once warm, and what they took together."""
    group = Group.own()
    if batch > 1:
        # One sequence goes on where the start has left it.
        writer.begin(streams(vocabulary, "decode", batch, CONTEXT_OF_MANY), PROMPT)
    warm = list(_steps(writer, lambda steps, seconds: still_warming(batch, steps, seconds)))
    if batch == 1:
        pause(writer)
        # What was on its way when that began.
        writer.step()
    before, counted = used(group), writer.counts()
    seconds = list(_steps(writer, lambda steps, seconds: still_timing(batch, steps, seconds)))
    took, counts = used(group) - before, writer.counts()
    if batch == 1:
        pause(writer)
    return {
        "warm": len(warm),
        "seconds": seconds,
        "bytes_read": took.bytes_read,
        "cpu": took.cpu,
        "counts": {name: count - counted[name] for name, count in counts.items()},
    }


def _steps(writer: Writer, go_on: Any) -> Iterator[float]:
    steps, total = 0, 0.0
    while go_on(steps, total):
        started = time.perf_counter()
        writer.step()
        seconds = time.perf_counter() - started
        steps, total = steps + 1, total + seconds
        yield seconds


def pause(writer: Writer) -> None:
    with writer.still():
        tell("pause")
        sys.stdin.readline()


def tell(phase: str, **what: Any) -> None:
    print(json.dumps({"phase": phase, **what}), flush=True)
