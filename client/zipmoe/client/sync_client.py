"""SyncClient: the client for an app without an event loop. The same calls, which block; it may be shared by threads."""

import time
from collections.abc import Generator, Sequence
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


class SyncClient:
    """A connection to an inference service, as Client."""

    def __init__(
        self, address: str | None = None, *, certificate: Path | None = None, token: str | None = None
    ) -> None:
        self.address = address or default_address()
        secure = security(self.address, certificate, token)
        self._metadata = secure.metadata
        self._channel = (
            grpc.insecure_channel(self.address, options=OPTIONS)
            if secure.credentials is None
            else grpc.secure_channel(self.address, secure.credentials, options=OPTIONS)
        )
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()

    def generate(
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
        timeout: float | None = None,
        patience: float | None = None,
    ) -> Generator[Completion, None, None]:
        """As Client.generate: leaving the loop cancels, and so does Ctrl-C."""
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
                self.until_reachable(asking.connecting)
                with our_errors(timeout):
                    call = self._stub.Generate(request, timeout=asking.left, metadata=self._metadata)
                    try:
                        for message in call:
                            asking.answered()
                            yield messages.completion(message)
                    finally:
                        call.cancel()
                return
            except CacheExhausted as refused:
                pause = asking.pause(refused)
            time.sleep(pause)

    def tokenize(self, text: str) -> list[int]:
        self.until_reachable()
        with our_errors():
            answer = self._stub.Tokenize(
                inference_pb2.TokenizeRequest(text=text), timeout=CONNECT_SECONDS, metadata=self._metadata
            )
        return list(answer.tokens)

    def model(self) -> Model:
        """What is served."""
        self.until_reachable()
        with our_errors():
            answer = self._stub.GetModel(
                inference_pb2.GetModelRequest(), timeout=CONNECT_SECONDS, metadata=self._metadata
            )
        return messages.model(answer)

    def load(self) -> Load:
        """How busy the service is."""
        self.until_reachable()
        with our_errors():
            answer = self._stub.GetLoad(
                inference_pb2.GetLoadRequest(), timeout=CONNECT_SECONDS, metadata=self._metadata
            )
        return messages.load(answer)

    def until_reachable(self, patience: float = CONNECT_SECONDS) -> None:
        """Waits for the service to be there. Raises ServiceRestarting after `patience` seconds."""
        # Not grpc.channel_ready_future: its thread looks at the channel once more after it was closed, and dies of it.
        try:
            self._stub.GetModel(
                inference_pb2.GetModelRequest(), wait_for_ready=True, timeout=patience, metadata=self._metadata
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise nobody_answers(self.address, patience) from None
            with our_errors():
                raise
