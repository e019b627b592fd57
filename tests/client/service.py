"""FakeInference: an inference service of prepared answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration

from zipmoe.client import Client
from zipmoe.v1 import inference_pb2, inference_pb2_grpc


class FakeInference(inference_pb2_grpc.InferenceServiceServicer):
    """Answers Generate with `answers`, then with `status` if there is one; with `endless`, it goes on for ever."""

    def __init__(
        self,
        *answers: inference_pb2.GenerateResponse,
        status: tuple[grpc.StatusCode, str] | None = None,
        endless: bool = False,
    ) -> None:
        self.requests: list[inference_pb2.GenerateRequest] = []
        self.left = asyncio.Event()
        self._answers = answers
        self._status = status
        self._endless = endless

    async def Generate(
        self,
        request: inference_pb2.GenerateRequest,
        context: "grpc.aio.ServicerContext[inference_pb2.GenerateRequest, inference_pb2.GenerateResponse]",
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        self.requests.append(request)
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
        if self._status is not None:
            await context.abort(*self._status)
        return inference_pb2.TokenizeResponse(tokens=request.text.encode())

    async def GetModel(
        self,
        request: inference_pb2.GetModelRequest,
        context: "grpc.aio.ServicerContext[inference_pb2.GetModelRequest, inference_pb2.GetModelResponse]",
    ) -> inference_pb2.GetModelResponse:
        return inference_pb2.GetModelResponse(
            family="olmoe", fingerprint="00ff", context=1024, vocabulary=4096, mode="reference"
        )

    async def GetLoad(
        self,
        request: inference_pb2.GetLoadRequest,
        context: "grpc.aio.ServicerContext[inference_pb2.GetLoadRequest, inference_pb2.GetLoadResponse]",
    ) -> inference_pb2.GetLoadResponse:
        return inference_pb2.GetLoadResponse(running=1)


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
