"""Client: pieces as they come, usage with the last, every failure one of ours, and leaving is cancelling."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.client.service import FakeInference, client_of, duration
from zipmoe.client import Client, Completion, Load, Model, Usage, default_address
from zipmoe.errors import (
    CacheExhausted,
    CorruptExpert,
    InvalidRequest,
    ServiceRestarting,
    StaleEpoch,
    TimedOut,
    UnknownExpert,
    ZipMoEError,
)
from zipmoe.errors.retry import retry_details
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
    fake = FakeInference(GenerateResponse(text="how"), status=(code, "why it failed", ()))
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
        assert await client.model() == Model("olmoe", "00ff", 1024, 4096, "reference", chat=True)


async def test_the_load_is_described(tmp_path: Path) -> None:
    async with client_of(FakeInference(), tmp_path) as client:
        assert await client.load() == Load(1, 2, 16, 64, 3, 7, 99)


async def test_a_conversation_arrives(tmp_path: Path) -> None:
    fake = FakeInference(LAST)
    async with client_of(fake, tmp_path) as client:
        said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "grüße"}]
        assert [piece.text async for piece in client.generate(said)] == [" you"]
    (request,) = fake.requests
    assert request.WhichOneof("prompt") == "conversation"
    assert [{"role": each.role, "content": each.content} for each in request.conversation.messages] == said
    assert not request.conversation.HasField("generation_prompt")


@pytest.mark.parametrize("message", [{"role": "user"}, {"content": "x"}, {"role": "user", "content": 7}, None])
async def test_what_is_no_message_is_named(tmp_path: Path, message: Any) -> None:
    async with Client(f"unix:{tmp_path}/nobody.sock") as client:
        with pytest.raises(InvalidRequest, match="a role and a content"):
            await anext(client.generate([message]))


async def test_no_tokens_are_no_conversation(tmp_path: Path) -> None:
    fake = FakeInference(LAST)
    async with client_of(fake, tmp_path) as client:
        async for _ in client.generate([]):
            pass
    assert fake.requests[0].WhichOneof("prompt") == "tokens"


async def test_a_timeout_ends_the_work(tmp_path: Path) -> None:
    fake = FakeInference(GenerateResponse(text="how"), endless=True)
    async with client_of(fake, tmp_path) as client:
        pieces = client.generate("hello", timeout=0.3)
        assert (await anext(pieces)).text == "how"
        with pytest.raises(TimedOut, match=r"within 0\.3 s"):
            await anext(pieces)
        await asyncio.wait_for(fake.left.wait(), 10)


async def test_a_timeout_is_over_for_a_service_that_is_not_there(tmp_path: Path) -> None:
    async with Client(f"unix:{tmp_path}/nobody.sock") as client:
        with pytest.raises(ServiceRestarting, match="nobody answers"):
            async for _ in client.generate("hello", timeout=0.05):
                pass


async def test_who_has_no_patience_is_told_when_to_ask_again(tmp_path: Path) -> None:
    fake = FakeInference(LAST, refusals=1, after=0.25)
    async with client_of(fake, tmp_path) as client:
        with pytest.raises(CacheExhausted, match="too many wait") as caught:
            await all_of(client)
        assert caught.value.retry_after == 0.25
    assert len(fake.requests) == 1


async def test_the_patient_ask_again_until_they_are_let_in(tmp_path: Path) -> None:
    fake = FakeInference(LAST, refusals=3)
    async with client_of(fake, tmp_path) as client:
        assert [piece.text async for piece in client.generate("hello", patience=10)] == [" you"]
    assert len(fake.requests) == 4
    assert all(request == fake.requests[0] for request in fake.requests)


@pytest.mark.parametrize(
    ("after", "options"),
    [(None, {"patience": 10.0}), (30.0, {"patience": 10.0}), (2.0, {"patience": 10.0, "timeout": 1.0})],
    ids=["nothing will change", "longer than patience", "longer than the timeout"],
)
async def test_patience_is_not_spent_in_vain(tmp_path: Path, after: float | None, options: dict[str, float]) -> None:
    fake = FakeInference(LAST, refusals=1, after=after)
    async with client_of(fake, tmp_path) as client:
        with pytest.raises(CacheExhausted):
            async for _ in client.generate("hello", **options):  # type: ignore[arg-type]
                pass
    assert len(fake.requests) == 1


async def test_patience_ends(tmp_path: Path) -> None:
    fake = FakeInference(LAST, refusals=1000, after=0.05)
    async with client_of(fake, tmp_path) as client:
        with pytest.raises(CacheExhausted):
            async for _ in client.generate("hello", patience=0.3):
                pass
    assert 2 <= len(fake.requests) <= 7


async def test_nothing_is_asked_again_behind_a_piece(tmp_path: Path) -> None:
    """Not even where the service says when to."""
    status = grpc.StatusCode.RESOURCE_EXHAUSTED, "every slot is in use", retry_details("every slot is in use", 0.01)
    fake = FakeInference(GenerateResponse(text="how"), status=status)
    async with client_of(fake, tmp_path) as client:
        pieces = client.generate("hello", patience=10)
        assert (await anext(pieces)).text == "how"
        with pytest.raises(CacheExhausted, match="every slot"):
            await anext(pieces)
    assert len(fake.requests) == 1


async def test_what_changes_nothing_is_asked_again_while_the_service_is_away(tmp_path: Path) -> None:
    fake = FakeInference(away=2)
    async with client_of(fake, tmp_path) as client:
        assert (await client.model()).family == "olmoe"
        fake.away = 2
        assert await client.tokenize("a") == [97]
        fake.away = 2
        assert (await client.load()).running == 1
        fake.away = 99
        with pytest.raises(ServiceRestarting, match="away"):
            await client.model()


async def test_a_generate_is_not_asked_again(tmp_path: Path) -> None:
    fake = FakeInference(status=(grpc.StatusCode.UNAVAILABLE, "gone", ()))
    async with client_of(fake, tmp_path) as client:
        with pytest.raises(ServiceRestarting, match="gone"):
            async for _ in client.generate("hello", patience=10):
                pass
    assert len(fake.requests) == 1


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
