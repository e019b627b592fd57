"""Usage: what a completion took, in a line for people."""

from rich.console import Console

from zipmoe.client import Usage


def print_usage(console: Console, usage: Usage) -> None:
    console.print(summary(usage), style="dim", markup=False, highlight=False, soft_wrap=True)


def summary(usage: Usage) -> str:
    """As in: 64 tokens at 12.3/s · first after 410 ms · prompt of 9 · 97% of expert uses were hits."""
    written = f"{usage.completion_tokens} token{'s' * (usage.completion_tokens != 1)}"
    rate = f" at {usage.tokens_per_second:.1f}/s" if usage.tokens_per_second else ""
    reused = f" ({usage.reused_tokens} computed before)" if usage.reused_tokens else ""
    return (
        f"{written}{rate} · first after {usage.time_to_first_token.total_seconds() * 1000:.0f} ms"
        f" · prompt of {usage.prompt_tokens}{reused} · {usage.hit_rate:.0%} of expert uses were hits"
    )
