"""zipmoe generate: a completion, streamed to standard output; what it took, to standard error."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from zipmoe.cli.usage import print_usage
from zipmoe.client import Client, Usage
from zipmoe.wire.places import Places, default_run


def generate(prompt: str, options: dict[str, Any], address: str | None, run: Path | None) -> None:
    address = address or Places.under(run or default_run()).inference
    usage = asyncio.run(_stream(prompt, options, address))
    if usage is not None:
        print_usage(Console(stderr=True), usage)


async def _stream(prompt: str, options: dict[str, Any], address: str) -> Usage | None:
    usage = None
    async with Client(address) as client:
        async for piece in client.generate(prompt, **options):
            sys.stdout.write(piece.text)
            sys.stdout.flush()
            usage = piece.usage
    sys.stdout.write("\n")
    return usage
