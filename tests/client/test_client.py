"""Client: pieces as they come, usage with the last, every failure one of ours, and leaving is cancelling."""

import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from tests.client.service import FakeInference, client_of, duration
from zipmoe.client import Client, Completion, Model, Usage, default_address
from zipmoe.errors import (
    CacheExhausted,
    CorruptExpert,
    InvalidRequest,
    ServiceRestarting,
    StaleEpoch,
    UnknownExpert,
    ZipMoEError,
)
from zipmoe.v1 import inference_pb2
from zipmoe.v1.inference_pb2 import GenerateResponse

LAST = GenerateResponse(
    text=" you",
    tokens=[7],
    finish=inference_pb2.FINISH_REASON_LENGTH,
    usage=inference_pb2.Usage(
        prompt_tokens=3,
        completion_tokens=4,
        queue_time=duration(timedelta(milliseconds=5)),
        time_to_first_token=duration(timedelta(seconds=1.5)),
        time_per_output_token=duration(timedelta(milliseconds=20)),
        expert_uses=64,
        expert_misses=2,
        acquire_calls=1,
        bytes_read=4096,
        reused_tokens=16,
    ),
)
USAGE = Usage(
    3,
    4,
    timedelta(milliseconds=5),
    timedelta(seconds=1.5),
    timedelta(milliseconds=20),
    64,
    2,
    acquire_calls=1,
    bytes_read=4096,
    reused_tokens=16,
)


async def all_of(client: Client, prompt: str = "hello") -> list[Completion]:
    return [piece async for piece in client.generate(prompt)]


async def test_pieces_come_one_by_one_and_usage_with_the_last(tmp_path: Path) -> None:
    fake = FakeInference(GenerateResponse(text="how", tokens=[5]), GenerateResponse(tokens=[6]), LAST)
    async with client_of(fake, tmp_path) as client:
        assert await all_of(client) == [
            Completion("how", (5,), None, None),
            Completion("", (6,), None, None),
            Completion(" you", (7,), "length", USAGE),
        ]


@pytest.mark.parametrize("finish", ["end", "stop", "length"])
async def test_a_finish_is_a_word(tmp_path: Path, finish: str) -> None:
    last = GenerateResponse(finish=f"FINISH_REASON_{finish.upper()}")
    async with client_of(FakeInference(last), tmp_path) as client:
        assert [piece.finish for piece in await all_of(client)] == [finish]


async def test_what_is_not_given_is_left_to_the_service(tmp_path: Path) -> None:
    fake = FakeInference(LAST)
    async with client_of(fake, tmp_path) as client:
        await all_of(client, "grüße")
        assert fake.requests == [inference_pb2.GenerateRequest(text="grüße", sampling=inference_pb2.SamplingParams())]


async def test_what_is_given_arrives(tmp_path: Path) -> None:
    fake = FakeInference(LAST)
    async with client_of(fake, tmp_path) as client:
        options = {"max_tokens": 9, "temperature": 0.0, "top_p": 0.5, "top_k": 0, "seed": 1 << 40}
        async for _ in client.generate([1, 2, 3], **options, stop=("\n", "end")):  # type: ignore[arg-type]
            pass
    (request,) = fake.requests
    assert list(request.tokens.tokens) == [1, 2, 3]
    assert {name: getattr(request.sampling, name) for name in options} == options
    assert all(request.sampling.HasField(name) for name in options)
    assert list(request.sampling.stop) == ["\n", "end"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.NOT_FOUND, UnknownExpert),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, CacheExhausted),
        (grpc.StatusCode.DATA_LOSS, CorruptExpert),
        (grpc.StatusCode.UNAVAILABLE, ServiceRestarting),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ServiceRestarting),
        (grpc.StatusCode.ABORTED, StaleEpoch),
        (grpc.StatusCode.INTERNAL, ZipMoEError),
    ],
)
async def test_a_failure_is_one_of_our_errors(tmp_path: Path, code: grpc.StatusCode, kind: type[ZipMoEError]) -> None:
    fake = FakeInference(GenerateResponse(text="how"), status=(code, "why it failed"))
    async with client_of(fake, tmp_path) as client:
        pieces = client.generate("hello")
        assert (await anext(pieces)).text == "how"
        with pytest.raises(ZipMoEError, match="why it failed") as caught:
            await anext(pieces)
        assert type(caught.value) is kind
        with pytest.raises(kind, match="why it failed"):
            await client.tokenize("hello")


async def test_leaving_the_loop_cancels(tmp_path: Path) -> None:
    fake = FakeInference(GenerateResponse(text="how"), endless=True)
    async with client_of(fake, tmp_path) as client:
        async for _ in client.generate("hello"):
            break
        await asyncio.wait_for(fake.left.wait(), 10)


async def test_cancelling_the_reader_cancels(tmp_path: Path) -> None:
    fake = FakeInference(GenerateResponse(text="how"), endless=True)
    async with client_of(fake, tmp_path) as client:
        pieces = client.generate("hello")
        await anext(pieces)
        waiting = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait_for(fake.left.wait(), 10)
        assert waiting.cancelled()


async def test_text_is_tokenized(tmp_path: Path) -> None:
    async with client_of(FakeInference(), tmp_path) as client:
        assert await client.tokenize("abc") == [97, 98, 99]


async def test_the_model_is_described(tmp_path: Path) -> None:
    async with client_of(FakeInference(), tmp_path) as client:
        assert await client.model() == Model("olmoe", "00ff", 1024, 4096, "reference")


async def test_nobody_there_is_said_with_the_address(tmp_path: Path) -> None:
    async with Client(f"unix:{tmp_path}/nobody.sock") as client:
        with pytest.raises(ServiceRestarting, match=rf"nobody answers at unix:{tmp_path}/nobody\.sock for 0 s"):
            await client.until_reachable(patience=0.05)


async def test_a_service_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    async with Client(f"unix:{tmp_path}/inference.sock") as early:
        asking = asyncio.ensure_future(early.model())
        await asyncio.sleep(0)
        async with client_of(FakeInference(), tmp_path):
            assert (await asyncio.wait_for(asking, 10)).family == "olmoe"


def test_the_default_address_is_where_up_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZIPMOE_ADDRESS", raising=False)
    monkeypatch.setenv("ZIPMOE_RUN", "/run/zipmoe")
    assert default_address() == "unix:/run/zipmoe/inference.sock"
    monkeypatch.setenv("ZIPMOE_ADDRESS", "edge.local:50051")
    assert default_address() == "edge.local:50051"
