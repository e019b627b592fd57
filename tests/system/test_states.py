"""In whatever state an expert is kept, the same bits are multiplied: the text is that of an arena that holds all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.stack import Stack
from zipmoe.client import Client

PROMPTS = ("def parse_args(", "import os\n", "class Queue:\n    def get(self, block=True, timeout=None):\n")
TOKENS = 24
MODES = ("fast", "reference")


async def texts(stack: Stack) -> list[list[int]]:
    found = []
    async with Client(stack.places.inference) as client:
        for prompt in PROMPTS:
            pieces = [piece async for piece in client.generate(prompt, max_tokens=TOKENS)]
            found.append([token for piece in pieces for token in piece.tokens])
    return found


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def whole(demo_pack: Path, mode: str) -> Iterator[Stack]:
    with Stack(demo_pack, arena_size="100%", mode=mode) as stack:
        yield stack.start()


# Of 128 experts: sign-mantissas to spare, exponents to spare, words beside planes; about a third of the model each.
@pytest.mark.parametrize("pools", ["0,80,30", "0,40,100", "14,40,40"])
async def test_the_text_is_the_same_in_every_state(demo_pack: Path, mode: str, whole: Stack, pools: str) -> None:
    wanted = await texts(whole)
    with Stack(demo_pack, arena_size="40%", mode=mode, pools=pools) as stack:
        stack.start()
        assert await texts(stack) == wanted
        before = await stack.status()
        assert await texts(stack) == wanted, "from a cache that is full"
        # Its cache stays, halves and all, and goes on being right.
        stack.kill("scheduler")
        stack.start("scheduler")
        assert await texts(stack) == wanted
        after = await stack.status()
    words, sign_mantissas, exponents = map(int, pools.split(","))
    for seen in before, after:
        assert seen.full <= words
        assert seen.compressed + seen.sign_mantissas <= sign_mantissas
        assert seen.compressed + seen.exponents <= exponents
    if words:
        assert before.full > words // 2
    else:
        rest = after.sign_mantissas if sign_mantissas > exponents else after.exponents
        assert rest > abs(sign_mantissas - exponents) // 2
        assert after.partial_misses > 0
        assert after.demotions > 0
