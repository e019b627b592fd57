"""zipmoe generate: a completion, streamed to standard output; what it took, to standard error."""

import asyncio
import sys
from typing import Any

from rich.console import Console

from zipmoe.cli.usage import print_usage
from zipmoe.cli.where import Where
from zipmoe.client import Client, Usage


def generate(prompt: str, options: dict[str, Any], where: Where) -> None:
    usage = asyncio.run(_stream(prompt, options, where))
    if usage is not None:
        print_usage(Console(stderr=True), usage)


async def _stream(prompt: str, options: dict[str, Any], where: Where) -> Usage | None:
    usage = None
    async with Client(where.address, certificate=where.certificate, token=where.token) as client:
        async for piece in client.generate(prompt, **options):
            sys.stdout.write(piece.text)
            sys.stdout.flush()
            usage = piece.usage
    sys.stdout.write("\n")
    return usage
