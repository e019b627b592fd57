"""Sequence: one request on its way: its tokens, its place in the cache, its text, its times."""

import asyncio
import time
from dataclasses import dataclass, field
from enum import Enum

import torch

from zipmoe.errors import ZipMoEError
from zipmoe.inference.sampling import Sampled, Sampling
from zipmoe.inference.tally import Counters
from zipmoe.inference.text import TextStream


class Finish(Enum):
    END = "end"
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Usage:
    """Times in seconds. `reused_tokens` of the prompt's were in the cache already."""

    prompt_tokens: int
    completion_tokens: int
    reused_tokens: int
    queue_time: float
    time_to_first_token: float
    time_per_output_token: float
    experts: Counters


@dataclass(frozen=True, slots=True)
class Delta:
    """What a step added. The last one has `finish` and `usage`."""

    text: str
    tokens: tuple[Sampled, ...]
    finish: Finish | None = None
    usage: Usage | None = None


@dataclass(slots=True, eq=False)
class Sequence:
    """`tokens` begin with the prompt. Of them, `computed` are in the cache, in `pages`; the full ones of these have
    `names`, if they may be shared."""

    tokens: list[int]
    sampling: Sampling
    # Tokens it may write.
    room: int
    end_tokens: frozenset[int]
    text: TextStream
    generator: torch.Generator
    prompt: int = 0
    arrived: float = field(default_factory=time.monotonic)
    started: float = 0.0
    first: float = 0.0
    reused: int = 0
    computed: int = 0
    pages: list[int] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    # Nobody waits for it any more, or it has been told all there is.
    over: bool = False
    told: "asyncio.Queue[Delta | ZipMoEError]" = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.prompt = len(self.tokens)

    @property
    def written(self) -> int:
        return len(self.tokens) - self.prompt

    @property
    def missing(self) -> int:
        """Tokens that are not in the cache."""
        return len(self.tokens) - self.computed

    def tell(self, sampled: Sampled) -> None:
        """Takes the next token, and tells who waits for it what it adds."""
        delta = self.append(sampled)
        self.over = delta.finish is not None
        self.told.put_nowait(delta)

    def fail(self, error: ZipMoEError) -> None:
        self.over = True
        self.told.put_nowait(error)

    def append(self, sampled: Sampled) -> Delta:
        """Takes the next token; says what it adds and whether it was the last."""
        if not self.written:
            self.first = time.monotonic()
        self.tokens.append(sampled.token)
        if sampled.token in self.end_tokens:
            return Delta(self.text.finish(), (sampled,), Finish.END, self._usage())
        text = self.text.feed(sampled.token)
        if self.text.stopped:
            return Delta(text, (sampled,), Finish.STOP, self._usage())
        if self.written == self.room:
            return Delta(text + self.text.finish(), (sampled,), Finish.LENGTH, self._usage())
        return Delta(text, (sampled,))

    def _usage(self) -> Usage:
        now = time.monotonic()
        return Usage(
            prompt_tokens=self.prompt,
            completion_tokens=self.written,
            reused_tokens=self.reused,
            queue_time=self.started - self.arrived,
            time_to_first_token=self.first - self.arrived,
            time_per_output_token=(now - self.first) / (self.written - 1) if self.written > 1 else 0.0,
            experts=self.counters,
        )
