"""Echo: an inference service whose answers a test chooses, behind the real door at a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

from zipmoe.v1 import inference_pb2, inference_pb2_grpc
from zipmoe.wire.channel import connect
from zipmoe.wire.server import serving
from zipmoe.wire.status import Context

# Only the type stubs tell it from the blocking one, hence the quotes.
Stub: TypeAlias = "inference_pb2_grpc.InferenceServiceAsyncStub"


class Echo(inference_pb2_grpc.InferenceServiceServicer):
    """GetModel raises `error`; Tokenize answers when told to; Generate answers once, then raises or never ends."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked = asyncio.Event()
        self.told = asyncio.Event()
        self.left = asyncio.Event()

    async def GetModel(
        self, request: inference_pb2.GetModelRequest, context: Context
    ) -> inference_pb2.GetModelResponse:
        if self.error is not None:
            raise self.error
        return inference_pb2.GetModelResponse(family="echo")

    async def GetLoad(self, request: inference_pb2.GetLoadRequest, context: Context) -> inference_pb2.GetLoadResponse:
        raise NotImplementedError

    async def Tokenize(
        self, request: inference_pb2.TokenizeRequest, context: Context
    ) -> inference_pb2.TokenizeResponse:
        self.asked.set()
        await self.told.wait()
        return inference_pb2.TokenizeResponse(tokens=[1, 2])

    async def Generate(
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        yield inference_pb2.GenerateResponse(text="first")
        if self.error is not None:
            raise self.error
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


@asynccontextmanager
async def echoing(folder: Path, echo: Echo) -> AsyncIterator[Stub]:
    """A stub of the served echo."""
    address = f"unix:{folder}/echo.sock"
    register = partial(inference_pb2_grpc.add_InferenceServiceServicer_to_server, echo)
    async with serving(address, register), connect(address) as channel:
        yield inference_pb2_grpc.InferenceServiceStub(channel)
