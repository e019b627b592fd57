"""An app: text as it is written. Beside a running `zipmoe up`: python examples/app.py"""

import asyncio

from zipmoe.client import Client


async def main() -> None:
    async with Client() as client:
        async for piece in client.generate("def parse_args(", max_tokens=64, temperature=0.7):
            print(piece.text, end="", flush=True)


asyncio.run(main())
