"""Client: generate, tokenize, ask what is served. Every failure is one of `zipmoe.errors`."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from zipmoe.client import messages
from zipmoe.client.asking import Asking, our_errors
from zipmoe.client.connection import CONNECT_SECONDS, OPTIONS, default_address, nobody_answers
from zipmoe.client.security import security
from zipmoe.client.values import Completion, Load, Model, Prompt
from zipmoe.errors import CacheExhausted
from zipmoe.v1 import inference_pb2, inference_pb2_grpc


class Client:
    """A connection to an inference service: unix:/path or host:port.

    `certificate` is a PEM file with the service's certificate, or those of who signed it: then the connection has TLS.
    `token` is what the service wants to hear. Without them, the files that ZIPMOE_TLS_CERTIFICATE and ZIPMOE_TOKEN_FILE
    name, if any. Raises InvalidRequest where one cannot be read.
    """

    def __init__(
        self, address: str | None = None, *, certificate: Path | None = None, token: str | None = None
    ) -> None:
        self.address = address or default_address()
        secure = security(self.address, certificate, token)
        self._metadata = secure.metadata
        self._channel = (
            grpc.aio.insecure_channel(self.address, options=OPTIONS)
            if secure.credentials is None
            else grpc.aio.secure_channel(self.address, secure.credentials, options=OPTIONS)
        )
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
        patience: float | None = None,
    ) -> AsyncGenerator[Completion, None]:
        """Continues a text or tokens, or answers in a conversation, piece by piece; leaving the loop cancels. Greedy
        unless a temperature is given.

        With `logprobs`, each token comes with its own and those of so many likeliest in its place. After `timeout`
        seconds the work ends, whatever it has come to. Where too many requests wait, the service says when to ask
        again: with `patience`, that is done for so many seconds, and only before the first piece.

        Raises InvalidRequest, CacheExhausted, CorruptExpert, ServiceRestarting or TimedOut.
        """
        request = messages.generate_request(
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            seed=seed,
            stop=stop,
            logprobs=logprobs,
        )
        asking = Asking(timeout, patience)
        while True:
            try:
                await self.until_reachable(asking.connecting)
                with our_errors(timeout):
                    call = self._stub.Generate(request, timeout=asking.left, metadata=self._metadata)
                    try:
                        async for message in call:
                            asking.answered()
                            yield messages.completion(message)
                    finally:
                        call.cancel()
                return
            except CacheExhausted as refused:
                pause = asking.pause(refused)
            await asyncio.sleep(pause)

    async def tokenize(self, text: str) -> list[int]:
        await self.until_reachable()
        with our_errors():
            answer = await self._stub.Tokenize(
                inference_pb2.TokenizeRequest(text=text), timeout=CONNECT_SECONDS, metadata=self._metadata
            )
        return list(answer.tokens)

    async def model(self) -> Model:
        """What is served."""
        await self.until_reachable()
        with our_errors():
            answer = await self._stub.GetModel(
                inference_pb2.GetModelRequest(), timeout=CONNECT_SECONDS, metadata=self._metadata
            )
        return messages.model(answer)

    async def load(self) -> Load:
        """How busy the service is."""
        await self.until_reachable()
        with our_errors():
            answer = await self._stub.GetLoad(
                inference_pb2.GetLoadRequest(), timeout=CONNECT_SECONDS, metadata=self._metadata
            )
        return messages.load(answer)

    async def until_reachable(self, patience: float = CONNECT_SECONDS) -> None:
        """Waits for the service to be there. Raises ServiceRestarting after `patience` seconds."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), patience)
        except TimeoutError:
            raise nobody_answers(self.address, patience) from None
