"""Sampling: which token comes next. Pure, given its generator."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zipmoe.errors import InvalidRequest

LARGEST_SEED = (1 << 63) - 1
MOST_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a sequence is continued and when it ends. `max_tokens` and `seed` None: as far as the context goes, any."""

    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    # None: no logprobs; else of the token and of so many likeliest.
    logprobs: int | None = None

    def __post_init__(self) -> None:
        for name, good, allowed in (
            ("max_tokens", self.max_tokens is None or self.max_tokens > 0, "at least 1"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 (greedy) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "0 (all) or more"),
            ("seed", self.seed is None or 0 <= self.seed <= LARGEST_SEED, "between 0 and 2^63 - 1"),
            ("logprobs", self.logprobs is None or 0 <= self.logprobs <= MOST_LOGPROBS, f"0 to {MOST_LOGPROBS}"),
            ("stop", all(self.stop), "strings that are not empty"),
        ):
            if not good:
                raise InvalidRequest(f"{name} is {getattr(self, name)!r}: it must be {allowed}")

    def generator(self) -> torch.Generator:
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator


@dataclass(frozen=True, slots=True)
class Sampled:
    """A token, and if that was asked for, the logarithm of its probability and the likeliest tokens with theirs."""

    token: int
    logprob: float | None = None
    likeliest: tuple[tuple[int, float], ...] = ()


def sample(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Sampled:
    """The next token, from logits [vocabulary]. Its logprob is the model's, whatever the temperature."""
    token = choose(logits, sampling, generator)
    if sampling.logprobs is None:
        return Sampled(token)
    logprobs = logits.float().log_softmax(-1)
    best = logprobs.topk(sampling.logprobs)
    likeliest = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Sampled(token, float(logprobs[token]), likeliest)


def likeliest(logits: Tensor) -> int:
    """The first of the highest logits. torch's own would wake its threads for every token."""
    if logits.dtype != torch.bfloat16:
        return int(logits.argmax())
    # Words above zero are in the order of what they stand for. So is the highest of nearly every token found where they
    # lie; where none is above zero, by widening them.
    words = logits.view(torch.int16).numpy()
    highest = int(words.argmax())
    if words[highest] <= 0:
        highest = int((words.astype(np.int32) << 16).view(np.float32).argmax())
    return highest


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    if sampling.temperature == 0:
        return likeliest(logits)
    scores, tokens = logits.float().sort(descending=True)
    # Less the highest first: then the smallest temperature makes no two infinite.
    scores = (scores - scores[0]) / sampling.temperature
    if sampling.top_k:
        scores = scores[: sampling.top_k]
    shares = scores.softmax(-1)
    # A token stays if those likelier than it have not yet reached top_p; the likeliest always does.
    before = shares.cumsum(-1) - shares
    shares = shares.where(before < sampling.top_p, 0.0)
    return int(tokens[torch.multinomial(shares, 1, generator=generator)])
