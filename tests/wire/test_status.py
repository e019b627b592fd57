"""Errors on the wire: what a service raises is what its caller catches, and UNKNOWN never leaves a service."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.wire.service import Echo, Stub, echoing
from zipmoe import errors
from zipmoe.errors import CacheExhausted, DiskFull, ServiceRestarting, TimedOut, WorkerLost, ZipMoEError
from zipmoe.v1 import inference_pb2
from zipmoe.wire.status import raised

KINDS = [getattr(errors, name) for name in errors.__all__ if name != "from_status"]

# They share the status code of a class that callers treat alike; a service has no patience that it could lose.
ARRIVES_AS = {WorkerLost: ServiceRestarting, DiskFull: CacheExhausted, TimedOut: ServiceRestarting}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_of_ours_arrives_as_its_class_with_its_message(tmp_path: Path, kind: type[ZipMoEError]) -> None:
    async with echoing(tmp_path, Echo(kind("expert 3 of layer 7: größer"))) as stub:
        with pytest.raises(ZipMoEError) as caught, raised():
            await stub.GetModel(inference_pb2.GetModelRequest())
        assert type(caught.value) is ARRIVES_AS.get(kind, kind)
        assert str(caught.value) == "expert 3 of layer 7: größer"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_ends_a_stream_behind_what_was_sent(tmp_path: Path, kind: type[ZipMoEError]) -> None:
    async with echoing(tmp_path, Echo(kind("no more"))) as stub:
        messages = aiter(stub.Generate(inference_pb2.GenerateRequest()))
        assert (await anext(messages)).text == "first"
        with pytest.raises(ARRIVES_AS.get(kind, kind), match=r"^no more$"), raised():
            await anext(messages)


async def test_a_fault_of_ours_is_internal_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with echoing(tmp_path, Echo(KeyError("router"))) as stub:
        for answers in (_one(stub), stub.Generate(inference_pb2.GenerateRequest())):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                [answer async for answer in answers]
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            assert "KeyError('router')" in (caught.value.details() or "")
    assert caplog.text.count("KeyError: 'router'") == 2


async def test_an_answer_without_an_error_passes(tmp_path: Path) -> None:
    async with echoing(tmp_path, Echo()) as stub:
        assert (await stub.GetModel(inference_pb2.GetModelRequest())).family == "echo"


async def test_a_caller_that_leaves_ends_its_stream_at_once(tmp_path: Path) -> None:
    echo = Echo()
    async with echoing(tmp_path, echo) as stub:
        call = stub.Generate(inference_pb2.GenerateRequest())
        async for _ in call:
            call.cancel()
            break
        await asyncio.wait_for(echo.left.wait(), 10)


async def _one(stub: Stub) -> AsyncIterator[inference_pb2.GetModelResponse]:
    yield await stub.GetModel(inference_pb2.GetModelRequest())
