"""Sequence: one request on its way: its tokens, its cache, its text, its times."""

import time
from dataclasses import dataclass, field
from enum import Enum

import torch

from zipmoe.inference.experts import Counters
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.sampling import Sampling
from zipmoe.inference.text import TextStream


class Finish(Enum):
    END = "end"
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Usage:
    """Times in seconds."""

    prompt_tokens: int
    completion_tokens: int
    queue_time: float
    time_to_first_token: float
    time_per_output_token: float
    experts: Counters


@dataclass(frozen=True, slots=True)
class Delta:
    """What a step added. The last one has `finish` and `usage`."""

    text: str
    tokens: tuple[int, ...]
    finish: Finish | None = None
    usage: Usage | None = None


@dataclass(slots=True)
class Sequence:
    prompt: list[int]
    sampling: Sampling
    # Tokens it may write.
    room: int
    end_tokens: frozenset[int]
    text: TextStream
    generator: torch.Generator
    arrived: float = field(default_factory=time.monotonic)
    started: float = 0.0
    first: float = 0.0
    written: int = 0
    cache: KVCache | None = None

    def append(self, token: int) -> Delta:
        """Takes the next token; says what it adds and whether it was the last."""
        if not self.written:
            self.first = time.monotonic()
        self.written += 1
        if token in self.end_tokens:
            return Delta(self.text.finish(), (token,), Finish.END)
        text = self.text.feed(token)
        if self.text.stopped:
            return Delta(text, (token,), Finish.STOP)
        if self.written == self.room:
            return Delta(text + self.text.finish(), (token,), Finish.LENGTH)
        return Delta(text, (token,))

    def usage(self, experts: Counters) -> Usage:
        now = time.monotonic()
        per_token = (now - self.first) / (self.written - 1) if self.written > 1 else 0.0
        return Usage(
            len(self.prompt), self.written, self.started - self.arrived, self.first - self.arrived, per_token, experts
        )
