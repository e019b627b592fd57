"""FakeInference: an inference service of prepared answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from google.protobuf.duration_pb2 import Duration

from zipmoe.client import Client
from zipmoe.errors.retry import retry_details
from zipmoe.v1 import inference_pb2, inference_pb2_grpc

Details: TypeAlias = tuple[tuple[str, bytes], ...]


class FakeInference(inference_pb2_grpc.InferenceServiceServicer):
    """Answers Generate with `answers`, then with `status` if there is one; with `endless`, it goes on for ever.

    Before that, it refuses so many Generates, and says to ask again `after` so many seconds; and it is `away` for so
    many other calls.
    """

    def __init__(
        self,
        *answers: inference_pb2.GenerateResponse,
        status: tuple[grpc.StatusCode, str, Details] | None = None,
        endless: bool = False,
        refusals: int = 0,
        after: float | None = 0.01,
        away: int = 0,
    ) -> None:
        self.away = away
        self.requests: list[inference_pb2.GenerateRequest] = []
        self.left = asyncio.Event()
        self._answers = answers
        self._status = status
        self._endless = endless
        self._refusals = refusals
        self._after = after

    async def Generate(
        self,
        request: inference_pb2.GenerateRequest,
        context: "grpc.aio.ServicerContext[inference_pb2.GenerateRequest, inference_pb2.GenerateResponse]",
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        self.requests.append(request)
        if len(self.requests) <= self._refusals:
            details = () if self._after is None else retry_details("too many wait", self._after)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many wait", details)
        for answer in self._answers:
            yield answer
        if self._status is not None:
            await context.abort(*self._status)
        try:
            if self._endless:
                await asyncio.Event().wait()
        finally:
            self.left.set()

    async def Tokenize(
        self,
        request: inference_pb2.TokenizeRequest,
        context: "grpc.aio.ServicerContext[inference_pb2.TokenizeRequest, inference_pb2.TokenizeResponse]",
    ) -> inference_pb2.TokenizeResponse:
        await self._until_here(context)
        if self._status is not None:
            await context.abort(*self._status)
        return inference_pb2.TokenizeResponse(tokens=request.text.encode())

    async def GetModel(
        self,
        request: inference_pb2.GetModelRequest,
        context: "grpc.aio.ServicerContext[inference_pb2.GetModelRequest, inference_pb2.GetModelResponse]",
    ) -> inference_pb2.GetModelResponse:
        await self._until_here(context)
        return inference_pb2.GetModelResponse(
            family="olmoe", fingerprint="00ff", context=1024, vocabulary=4096, mode="reference", chat=True
        )

    async def GetLoad(
        self,
        request: inference_pb2.GetLoadRequest,
        context: "grpc.aio.ServicerContext[inference_pb2.GetLoadRequest, inference_pb2.GetLoadResponse]",
    ) -> inference_pb2.GetLoadResponse:
        await self._until_here(context)
        return inference_pb2.GetLoadResponse(
            running=1, waiting=2, page_tokens=16, pages=64, pages_used=3, steps=7, tokens=99
        )

    async def _until_here(self, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        if self.away:
            self.away -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")


@asynccontextmanager
async def client_of(service: FakeInference, folder: Path) -> AsyncIterator[Client]:
    """A client of the served fake."""
    server = grpc.aio.server()
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(service, server)
    server.add_insecure_port(f"unix:{folder}/inference.sock")
    await server.start()
    try:
        async with Client(f"unix:{folder}/inference.sock") as client:
            yield client
    finally:
        await server.stop(None)


def duration(time: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(time)
    return message
