"""A model larger than the memory it is given writes Python: what `make run` shows.

    python examples/demo.py PACK

Starts the three services with room for 30 % of the experts, streams three completions, shows the cache, stops.
"""

import asyncio
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from zipmoe.client import Client, Usage

ARENA_SIZE = "30%"
PROMPTS = (
    "def parse_args(",
    'class Queue:\n    """',
    "import os\nimport sys\n\ndef main(",
)
console = Console(highlight=False)


async def write(client: Client, prompt: str, seed: int) -> Usage | None:
    console.print(f"\n[bold cyan]{prompt}[/]", end="")
    usage = None
    async for piece in client.generate(prompt, max_tokens=96, temperature=0.7, top_p=0.95, seed=seed):
        console.print(piece.text, end="", markup=False)
        usage = piece.usage
    console.print()
    return usage


async def show(address: str) -> None:
    async with Client(address) as client:
        await client.until_reachable(120)
        for seed, prompt in enumerate(PROMPTS):
            usage = await write(client, prompt, seed)
            if usage is not None:
                per_second = 1 / usage.time_per_output_token.total_seconds()
                hits = 1 - usage.expert_misses / usage.expert_uses
                console.print(f"[dim]{per_second:.0f} tokens/s, {hits:.0%} of the experts were already in memory[/]")


def main(pack: str) -> int:
    with tempfile.TemporaryDirectory(prefix="zipmoe-demo-") as run:
        command = [str(Path(sys.executable).with_name("zipmoe"))]
        services = subprocess.Popen([*command, "up", pack, "--arena-size", ARENA_SIZE, "--run", run])
        try:
            asyncio.run(show(f"unix:{run}/inference.sock"))
            console.print()
            subprocess.run([*command, "status", "--run", run], check=True)
        finally:
            services.send_signal(signal.SIGTERM)
            stopped = services.wait()
    console.print(f"\nYours to try:  .venv/bin/zipmoe up {pack} --arena-size {ARENA_SIZE}")
    console.print("and beside it: .venv/bin/zipmoe generate 'def parse_args('")
    return stopped


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
