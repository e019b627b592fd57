"""Overload: ten times as many requests as can be served.

    python -m benchmarks.overload           (make bench; a minute)

The demo model, served by the real services at 40 % of its experts. First as many clients as run at once, each asking
again when it has been answered: requests a second, and what a token takes. Then requests at ten times that rate, no
matter who has been answered. Prints and writes results/overload.json: how fast refusals came, what a token of an
accepted request took beside that of the first part, and how many requests were neither served nor refused. Run it with
nothing else on the machine.
"""

import asyncio
import json
import statistics
import tempfile
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
from tests.system.stack import Stack

from zipmoe.client import Client
from zipmoe.errors import CacheExhausted
from zipmoe.pack.writer import pack

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "overload.json"
BATCH, TIMES, SECONDS = 16, 10, 20.0
PROMPT, WRITTEN, VOCABULARY = 12, 24, 4000
# Connections that the requests of the second part share: a client process has one.
CONNECTIONS: Final = 8


@dataclass(slots=True)
class Answers:
    """Seconds: of a token of each request that was served, and of each refusal."""

    tokens: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    lost: int = 0


async def ask(client: Client, chance: np.random.Generator, answers: Answers) -> None:
    prompt, started = chance.integers(0, VOCABULARY, PROMPT).tolist(), asyncio.get_running_loop().time()
    try:
        usage = [piece async for piece in client.generate(prompt, max_tokens=WRITTEN)][-1].usage
    except CacheExhausted:
        answers.refusals.append(asyncio.get_running_loop().time() - started)
        return
    if usage is None:
        answers.lost += 1
    elif usage.completion_tokens > 1:
        answers.tokens.append(usage.time_per_output_token.total_seconds())


async def closed(address: str, chance: np.random.Generator) -> Answers:
    """BATCH clients, each with one request at a time."""
    answers, ends = Answers(), asyncio.get_running_loop().time() + SECONDS

    async def one(client: Client) -> None:
        while asyncio.get_running_loop().time() < ends:
            await ask(client, chance, answers)

    async with Client(address) as client:
        await client.until_reachable(60)
        await ask(client, chance, Answers())
        await asyncio.gather(*(one(client) for _ in range(BATCH)))
    return answers


async def opened(address: str, chance: np.random.Generator, rate: float) -> Answers:
    """So many requests a second."""
    answers, asked = Answers(), list[asyncio.Task[None]]()
    clients = [Client(address) for _ in range(CONNECTIONS)]
    for client in clients:
        await client.until_reachable()
    start = asyncio.get_running_loop().time()
    for number in range(int(rate * SECONDS)):
        await asyncio.sleep(max(0.0, start + number / rate - asyncio.get_running_loop().time()))
        asked.append(asyncio.create_task(ask(clients[number % CONNECTIONS], chance, answers)))
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        answers.lost += isinstance(outcome, BaseException)
    for client in clients:
        await client.__aexit__(None, None, None)
    return answers


async def main() -> None:
    chance = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "demo.zipmoe"
        pack(ROOT / "models" / "demo", packed)
        with Stack(packed, arena_size="40%") as stack:
            stack.start()
            alone = await closed(stack.places.inference, chance)
            rate = len(alone.tokens) / SECONDS
            over = await opened(stack.places.inference, chance, TIMES * rate)
    late = float(np.quantile(over.refusals, 0.99))
    report = {
        "command": "python -m benchmarks.overload",
        "date": str(date.today()),
        "requests_per_second": round(rate, 1),
        "served": len(over.tokens),
        "refused": len(over.refusals),
        "lost": over.lost,
        "refusal_milliseconds": {
            "median": round(statistics.median(over.refusals) * 1e3, 1),
            "p99": round(late * 1e3, 1),
        },
        "tpot_over_without": round(statistics.median(over.tokens) / statistics.median(alone.tokens), 3),
    }
    print(json.dumps(report, indent=2))
    RESULT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
