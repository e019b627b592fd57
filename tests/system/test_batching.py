"""Batching, through the real services: a request's text does not depend on its mates, and nothing is left behind."""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.system.prompts import prompts
from tests.system.stack import Stack
from zipmoe.client import Client, Completion
from zipmoe.errors import CacheExhausted
from zipmoe.v1 import inference_pb2, inference_pb2_grpc
from zipmoe.wire.channel import connect

LENGTHS = [1, 2, 7, 16, 17, 40, 100, 200]
WRITTEN = 16
# Between two BF16 numbers of 16 and more.
TIE = 0.125


@pytest.fixture(scope="module")
def texts(demo_checkpoint: Path) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(demo_checkpoint / "tokenizer.json"))
    return [prompt.tolist() for prompt in prompts(tokenizer, LENGTHS, seed=5)]


@pytest.fixture(scope="module")
def reference(demo_pack: Path) -> Iterator[Stack]:
    with Stack(demo_pack, arena_size="25%", mode="reference") as stack:
        yield stack.start()


@pytest.fixture(scope="module")
def fast(demo_pack: Path) -> Iterator[Stack]:
    with Stack(demo_pack, arena_size="25%") as stack:
        yield stack.start()


async def complete(
    stack: Stack, prompt: list[int], written: int = WRITTEN, logprobs: int | None = None
) -> list[Completion]:
    async with Client(stack.places.inference) as client:
        return [piece async for piece in client.generate(prompt, max_tokens=written, logprobs=logprobs)]


def tokens(pieces: list[Completion]) -> list[int]:
    return [token for piece in pieces for token in piece.tokens]


async def load(stack: Stack) -> inference_pb2.GetLoadResponse:
    async with connect(stack.places.inference) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        return await stub.GetLoad(inference_pb2.GetLoadRequest(), wait_for_ready=True, timeout=60)


async def until_idle(stack: Stack) -> None:
    """Nobody runs, waits, or holds a page or a lease."""
    async with asyncio.timeout(30):
        while True:
            now, cache = await load(stack), await stack.status()
            if not (now.running or now.waiting or now.pages_used or cache.leased):
                return
            await asyncio.sleep(0.01)


async def test_in_reference_mode_mates_change_no_token(reference: Stack, texts: list[list[int]]) -> None:
    alone = [tokens(await complete(reference, text)) for text in texts]
    for _ in range(2):
        together = await asyncio.gather(*(complete(reference, text) for text in texts))
        assert [tokens(pieces) for pieces in together] == alone
    await until_idle(reference)


async def test_in_reference_mode_who_gave_its_pages_back_writes_the_same(
    reference: Stack, demo_pack: Path, texts: list[list[int]]
) -> None:
    few = texts[:6]
    alone = [tokens(await complete(reference, text, 40)) for text in few]
    with Stack(demo_pack, arena_size="25%", mode="reference", kv_tokens=160) as scarce:
        scarce.start()
        together = await asyncio.gather(*(complete(scarce, text, 40) for text in few))
        assert [tokens(pieces) for pieces in together] == alone
        now = await load(scarce)
        assert now.tokens > sum(map(len, few)) + 39 * len(few), "nobody was computed again"
        await until_idle(scarce)


async def test_in_fast_mode_mates_change_no_token_but_in_a_tie(fast: Stack, texts: list[list[int]]) -> None:
    """A tie: alone, the two tokens' logits are no further apart than rounding them to BF16 may bring them."""
    alone = [await complete(fast, text, logprobs=2) for text in texts]
    ties = 0
    for _ in range(3):
        together = await asyncio.gather(*(complete(fast, text) for text in texts))
        for expected, found in zip(alone, together, strict=True):
            pairs = zip(expected, tokens(found), strict=True)
            parted = next(((piece, token) for piece, token in pairs if piece.tokens[0] != token), None)
            if parted is not None:
                (said,), ties = parted[0].logprobs, ties + 1
                likeliest = dict(said.likeliest)
                assert parted[1] in likeliest
                assert said.logprob - likeliest[parted[1]] <= TIE
    print(f"\n{ties} of {3 * len(texts)} texts part in a tie")
    assert ties <= len(texts) // 2


async def test_they_go_through_the_model_together(fast: Stack, texts: list[list[int]]) -> None:
    before = await load(fast)
    await asyncio.gather(*(complete(fast, texts[3], 32) for _ in range(8)))
    after = await load(fast)
    assert after.tokens - before.tokens > 8 * 31
    assert after.steps - before.steps < 2 * 32


async def test_one_that_begins_as_another_did_computes_the_rest_alone(fast: Stack, texts: list[list[int]]) -> None:
    text = texts[-1][::-1]
    first = (await complete(fast, text))[-1]
    again = (await complete(fast, text))[-1]
    assert first.usage is not None
    assert again.usage is not None
    assert first.usage.reused_tokens < 16
    assert again.usage.reused_tokens == 192
    assert again.tokens == first.tokens


async def test_usage_is_each_requests_own(fast: Stack, texts: list[list[int]]) -> None:
    before = await fast.status()
    ended = [pieces[-1].usage for pieces in await asyncio.gather(*(complete(fast, text) for text in texts))]
    after = await fast.status()
    used = [usage for usage in ended if usage is not None]
    assert len(used) == len(texts)
    assert all(0 <= usage.hit_rate <= 1 for usage in used)
    assert sum(usage.bytes_read for usage in used) == pytest.approx(after.bytes_read - before.bytes_read, abs=1000)
    assert sum(usage.expert_misses for usage in used) >= after.misses - before.misses


async def test_logprobs_are_of_the_tokens_written(fast: Stack, texts: list[list[int]]) -> None:
    async with Client(fast.places.inference) as client:
        pieces = [piece async for piece in client.generate(texts[4], max_tokens=8, logprobs=3)]
    assert all(len(piece.logprobs) == len(piece.tokens) == 1 for piece in pieces)
    for piece in pieces:
        (said,) = piece.logprobs
        assert said.logprob <= 0
        assert len(said.likeliest) == 3
        assert said.likeliest[0][0] == piece.tokens[0]
        assert said.likeliest[0][1] == pytest.approx(said.logprob)
        assert [its for _, its in said.likeliest] == sorted((its for _, its in said.likeliest), reverse=True)


async def vanish(stack: Stack, text: list[int], after: int, patience: float) -> None:
    """A client that goes away when so many tokens have come, or while it waits for one."""
    async with Client(stack.places.inference) as client:
        pieces = client.generate(text, max_tokens=200)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                for _ in range(after):
                    await anext(pieces)
        await pieces.aclose()


async def test_200_clients_that_vanish_leave_nothing(fast: Stack, texts: list[list[int]]) -> None:
    chance, long = random.Random(0), [number % 4000 for number in range(900)]
    for _ in range(5):
        # Every second one writes for as long as it may, and most of these leave in the middle of a prompt.
        plans = [(chance.randint(1, 6), 60.0) if place % 2 else (200, chance.uniform(0, 2)) for place in range(40)]
        leaving = [vanish(fast, chance.choice([*texts, long]), *plan) for plan in plans]
        await asyncio.gather(*leaving)
        steps = (await load(fast)).steps
        await until_idle(fast)
        # What was going on when the last one went, and one more.
        assert (await load(fast)).steps <= steps + 2


async def test_too_many_are_refused_at_once_and_the_others_lose_nothing(fast: Stack, texts: list[list[int]]) -> None:
    loop = asyncio.get_running_loop()

    async def ask(client: Client) -> float | list[Completion]:
        started = loop.time()
        try:
            return [piece async for piece in client.generate(texts[2], max_tokens=WRITTEN)]
        except CacheExhausted as refused:
            return loop.time() - started if refused.retry_after is not None else 1e9

    async with Client(fast.places.inference) as client:
        answers = await asyncio.gather(*(ask(client) for _ in range(160)))
    served = [answer for answer in answers if isinstance(answer, list)]
    waits = [answer for answer in answers if isinstance(answer, float)]
    print(f"\n{len(waits)} refused, the last after {max(waits) * 1e3:.0f} ms from when all had asked")
    assert max(waits) < 1
    assert len(served) >= 64
    assert len(served) < 160
    assert len({tuple(tokens(pieces)) for pieces in served}) <= 2, "up to a tie of the first step's rows"
    await until_idle(fast)
