"""SyncClient: what the client does, without an event loop of its own; it blocks in a thread beside the fake's loop."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from tests.client.service import FakeInference, client_of
from tests.client.test_client import LAST, USAGE
from zipmoe.client import Completion, Load, Model, SyncClient
from zipmoe.errors import CacheExhausted, CorruptExpert, ServiceRestarting, TimedOut
from zipmoe.v1.inference_pb2 import GenerateResponse

T = TypeVar("T")


async def with_client(fake: FakeInference, folder: Path, act: Callable[[SyncClient], T]) -> T:
    """What `act` returns, given a client of the fake."""

    def acting() -> T:
        with SyncClient(f"unix:{folder}/inference.sock") as client:
            return act(client)

    async with client_of(fake, folder):
        return await asyncio.wait_for(asyncio.to_thread(acting), 30)


async def test_pieces_come_one_by_one_and_usage_with_the_last(tmp_path: Path) -> None:
    fake = FakeInference(GenerateResponse(text="how", tokens=[5]), LAST)
    pieces = await with_client(fake, tmp_path, lambda client: list(client.generate("hello", max_tokens=3)))
    assert pieces == [Completion("how", (5,), None, None), Completion(" you", (7,), "length", USAGE)]
    assert fake.requests[0].sampling.max_tokens == 3


async def test_it_answers_what_the_client_answers(tmp_path: Path) -> None:
    fake = FakeInference(away=1)
    answers = await with_client(fake, tmp_path, lambda client: (client.model(), client.tokenize("ab"), client.load()))
    assert answers == (Model("olmoe", "00ff", 1024, 4096, "reference", True), [97, 98], Load(1, 2, 16, 64, 3, 7, 99))


async def test_a_failure_is_one_of_our_errors(tmp_path: Path) -> None:
    fake = FakeInference(GenerateResponse(text="how"), status=(grpc.StatusCode.DATA_LOSS, "damaged", ()))

    def act(client: SyncClient) -> None:
        pieces = client.generate("hello")
        assert next(pieces).text == "how"
        with pytest.raises(CorruptExpert, match="damaged"):
            next(pieces)

    await with_client(fake, tmp_path, act)


async def test_leaving_the_loop_cancels(tmp_path: Path) -> None:
    fake = FakeInference(GenerateResponse(text="how"), endless=True)

    def act(client: SyncClient) -> None:
        for _ in client.generate("hello"):
            break

    await with_client(fake, tmp_path, act)
    await asyncio.wait_for(fake.left.wait(), 10)


async def test_a_timeout_ends_the_work(tmp_path: Path) -> None:
    fake = FakeInference(GenerateResponse(text="how"), endless=True)

    def act(client: SyncClient) -> None:
        with pytest.raises(TimedOut, match=r"within 0\.3 s"):
            list(client.generate("hello", timeout=0.3))

    await with_client(fake, tmp_path, act)
    await asyncio.wait_for(fake.left.wait(), 10)


async def test_the_patient_ask_again_until_they_are_let_in(tmp_path: Path) -> None:
    fake = FakeInference(LAST, refusals=2)
    pieces = await with_client(fake, tmp_path, lambda client: list(client.generate("hello", patience=10)))
    assert [piece.text for piece in pieces] == [" you"]
    assert len(fake.requests) == 3


async def test_who_has_no_patience_is_told_when_to_ask_again(tmp_path: Path) -> None:
    def act(client: SyncClient) -> float | None:
        with pytest.raises(CacheExhausted) as caught:
            list(client.generate("hello"))
        return caught.value.retry_after

    assert await with_client(FakeInference(LAST, refusals=1, after=0.25), tmp_path, act) == 0.25


async def test_threads_may_share_one(tmp_path: Path) -> None:
    def act(client: SyncClient) -> list[str]:
        texts: list[str] = []
        threads = [
            threading.Thread(target=lambda: texts.extend(piece.text for piece in client.generate("hello")))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return texts

    assert await with_client(FakeInference(LAST), tmp_path, act) == [" you"] * 4


def test_nobody_there_is_said_with_the_address(tmp_path: Path) -> None:
    with (
        SyncClient(f"unix:{tmp_path}/nobody.sock") as client,
        pytest.raises(ServiceRestarting, match=rf"nobody answers at unix:{tmp_path}/nobody\.sock for 0 s"),
    ):
        client.until_reachable(patience=0.05)
