"""Requests, through the real services: sampling, stop strings, limits, several clients at once, cancellation."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.stack import Stack
from zipmoe.client import Client, Completion
from zipmoe.errors import InvalidRequest

PROMPT = "def read_file(path):\n    "


@pytest.fixture(scope="module")
def stack(demo_pack: Path) -> Iterator[Stack]:
    with Stack(demo_pack, arena_size="30%") as stack:
        yield stack.start()


async def complete(stack: Stack, prompt: str = PROMPT, **options: object) -> list[Completion]:
    async with Client(stack.places.inference) as client:
        return [piece async for piece in client.generate(prompt, **options)]  # type: ignore[arg-type]


def text(pieces: list[Completion]) -> str:
    return "".join(piece.text for piece in pieces)


async def test_the_last_piece_says_why_and_what_it_took(stack: Stack) -> None:
    *pieces, last = await complete(stack, max_tokens=12)
    assert all(piece.finish is None and piece.usage is None for piece in pieces)
    assert last.finish == "length"
    assert last.usage is not None
    assert last.usage.completion_tokens == 12 == sum(len(piece.tokens) for piece in [*pieces, last])
    assert last.usage.time_to_first_token > last.usage.queue_time


async def test_equal_seeds_give_equal_text(stack: Stack) -> None:
    options: dict[str, object] = {"max_tokens": 24, "temperature": 1.0, "top_p": 0.95, "top_k": 50}
    first, again, other = [text(await complete(stack, PROMPT, seed=seed, **options)) for seed in (7, 7, 8)]
    assert first == again != other


async def test_a_stop_string_ends_the_text_before_it(stack: Stack) -> None:
    whole = text(await complete(stack, max_tokens=32))
    stop = whole[10:14]
    pieces = await complete(stack, max_tokens=32, stop=[stop])
    assert text(pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish == "stop"


async def test_the_context_is_the_limit(stack: Stack) -> None:
    async with Client(stack.places.inference) as client:
        context = (await client.model()).context
        pieces = [piece async for piece in client.generate([5] * (context - 3))]
        assert pieces[-1].finish in ("length", "end")
        assert sum(len(piece.tokens) for piece in pieces) <= 3
        with pytest.raises(InvalidRequest, match=f"{context} tokens.*shorten"):
            async for _ in client.generate([5] * context):
                pass


@pytest.mark.parametrize(
    ("prompt", "options", "says"),
    [
        ("", {}, "the prompt is empty"),
        ([1 << 20], {}, "not in the vocabulary"),
        ("x", {"temperature": -1.0}, "temperature"),
        ("x", {"top_p": 1.5}, "top_p"),
        ("x", {"stop": [""]}, "stop"),
        ("x", {"max_tokens": 0}, "max_tokens"),
        ([{"role": "user", "content": "x"}], {}, "no chat template"),
    ],
)
async def test_bad_requests_are_named(stack: Stack, prompt: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        await complete(stack, prompt, **options)


async def test_several_clients_at_once_get_what_each_gets_alone(stack: Stack) -> None:
    prompts = [f"import {name}\n" for name in ("os", "sys", "json", "re", "heapq", "socket")]
    alone = [text(await complete(stack, prompt, max_tokens=12)) for prompt in prompts]
    together = await asyncio.gather(*(complete(stack, prompt, max_tokens=12) for prompt in prompts))
    assert [text(pieces) for pieces in together] == alone


async def test_who_leaves_makes_room_within_a_token(stack: Stack) -> None:
    """A long generation that its client leaves does not keep the next one waiting."""
    one_token = (await complete(stack, max_tokens=1))[-1].usage
    assert one_token is not None
    for leave_after in (0, 1, 5):
        async with Client(stack.places.inference) as client:
            seen = 0
            async for _ in client.generate(PROMPT):
                if seen == leave_after:
                    break
                seen += 1
        usage = (await complete(stack, max_tokens=1))[-1].usage
        assert usage is not None
        assert usage.queue_time.total_seconds() < 1
