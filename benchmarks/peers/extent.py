"""Extent: how much of a stream is measured, so that slow contestants end and fast ones are measured well. Pure."""

from typing import Final

BATCHES: Final = (1, 4, 16)
PROMPTS: Final = (16, 256)
# That a batch's prompts have.
PROMPT: Final = 16
# That a sequence may have: prompt, warm-up and what is timed.
CONTEXT: Final = 512
CONTEXT_OF_MANY: Final = 64
# That all sequences together may have, where that is asked for at the start.
KV_TOKENS: Final = 16 * CONTEXT_OF_MANY + CONTEXT

# Until a cache holds what the stream wants: so many steps, or so long, but never fewer steps than the first number.
WARM_STEPS: Final = (4, 64)
WARM_SECONDS: Final = 10.0
# The cache is warm then.
WARM_STEPS_OF_MANY: Final = (1, 8)
WARM_SECONDS_OF_MANY: Final = 3.0

TIMED_SECONDS: Final = 18.0
FEWEST_TOKENS: Final = 8
MOST_STEPS: Final = 128
MOST_STEPS_OF_MANY: Final = 32

FIRST_SECONDS: Final = 8.0
MOST_FIRST: Final = 3


def still_warming(batch: int, steps: int, seconds: float) -> bool:
    """After so many steps in so long."""
    fewest, most = WARM_STEPS if batch == 1 else WARM_STEPS_OF_MANY
    enough = WARM_SECONDS if batch == 1 else WARM_SECONDS_OF_MANY
    return steps < fewest or (steps < most and seconds < enough)


def still_timing(batch: int, steps: int, seconds: float) -> bool:
    most = MOST_STEPS if batch == 1 else MOST_STEPS_OF_MANY
    return steps * batch < FEWEST_TOKENS or steps < 2 or (steps < most and seconds < TIMED_SECONDS)


def still_first(times: int, seconds: float) -> bool:
    """Whether to measure a time to first token once more."""
    return not times or (times < MOST_FIRST and seconds < FIRST_SECONDS)


def context(batch: int) -> int:
    return CONTEXT if batch == 1 else CONTEXT_OF_MANY
