"""Values: what a client is given and gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

# One of a conversation: {"role": "user", "content": "..."}. Roles are those that the served model's chat template
# knows, commonly system, user and assistant.
Message: TypeAlias = Mapping[str, str]
# A text to continue, its tokens, or a conversation to answer in.
Prompt: TypeAlias = str | Sequence[int] | Sequence[Message]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a completion took. `expert_misses` of `expert_uses` found their expert absent from memory, and `bytes_read`
    from disk were this request's part of bringing them in. `reused_tokens` of the prompt's had been computed before."""

    prompt_tokens: int
    completion_tokens: int
    queue_time: timedelta
    time_to_first_token: timedelta
    time_per_output_token: timedelta
    expert_uses: int
    expert_misses: int
    acquire_calls: int
    bytes_read: int
    reused_tokens: int

    @property
    def hit_rate(self) -> float:
        """Of the uses of experts."""
        return 1 - self.expert_misses / self.expert_uses if self.expert_uses else 1.0

    @property
    def tokens_per_second(self) -> float:
        """After the first one; 0 if there was no other."""
        seconds = self.time_per_output_token.total_seconds()
        return 1 / seconds if seconds else 0.0


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Of a token that was written: the natural logarithm of its probability, and the likeliest tokens with theirs."""

    logprob: float
    likeliest: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """A piece of a completion. The last one has `finish` ("end", "stop" or "length") and `usage`. `logprobs`, if they
    were asked for, are one a token."""

    text: str
    tokens: tuple[int, ...]
    finish: str | None
    usage: Usage | None
    logprobs: tuple[Logprobs, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """What is served. `context` in tokens, prompt included; with `chat`, a prompt can be a conversation."""

    family: str
    fingerprint: str
    context: int
    vocabulary: int
    mode: str
    chat: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a service is: requests that run and wait, memory for keys and values in pages of `page_tokens`, and the
    steps and tokens that went through the model since it started."""

    running: int
    waiting: int
    page_tokens: int
    pages: int
    pages_used: int
    steps: int
    tokens: int
