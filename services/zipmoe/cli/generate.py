"""zipmoe generate: a completion, streamed to standard output; what it took, to standard error."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from zipmoe.client import Client, Usage
from zipmoe.wire.places import Places, default_run


def generate(prompt: str, max_tokens: int, options: dict[str, Any], address: str | None, run: Path | None) -> None:
    address = address or Places.under(run or default_run()).inference
    usage = asyncio.run(_stream(prompt, max_tokens, options, address))
    if usage is not None:
        print(_summary(usage), file=sys.stderr)  # noqa: T201


async def _stream(prompt: str, max_tokens: int, options: dict[str, Any], address: str) -> Usage | None:
    usage = None
    async with Client(address) as client:
        async for piece in client.generate(prompt, max_tokens=max_tokens, **options):
            sys.stdout.write(piece.text)
            sys.stdout.flush()
            usage = piece.usage
    sys.stdout.write("\n")
    return usage


def _summary(usage: Usage) -> str:
    per_token = usage.time_per_output_token.total_seconds()
    hits = 1 - usage.expert_misses / usage.expert_uses if usage.expert_uses else 0.0
    return (
        f"[{usage.completion_tokens} tokens after {usage.prompt_tokens} · first in "
        f"{usage.time_to_first_token.total_seconds() * 1000:.0f} ms, then {per_token * 1000:.1f} ms each"
        f" · {hits:.0%} of {usage.expert_uses} expert uses were hits]"
    )
