"""Client: generate, tokenize, ask what is served. Every failure is one of `zipmoe.errors`."""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

import grpc

from zipmoe.errors import ServiceRestarting, from_status
from zipmoe.errors.retry import retry_after
from zipmoe.v1 import inference_pb2, inference_pb2_grpc

# A service that restarts is back within moments, and a caller would rather wait than fail.
CONNECT_SECONDS = 15.0


def default_address() -> str:
    """$ZIPMOE_ADDRESS, or the socket where `zipmoe up` listens by default."""
    run = os.environ.get("ZIPMOE_RUN") or f"/tmp/zipmoe-{os.getuid()}"
    return os.environ.get("ZIPMOE_ADDRESS") or f"unix:{run}/inference.sock"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a completion took. `expert_misses` of `expert_uses` found their expert absent from memory, and `bytes_read`
    from disk were this request's part of bringing them in. `reused_tokens` of the prompt's had been computed before."""

    prompt_tokens: int
    completion_tokens: int
    queue_time: timedelta
    time_to_first_token: timedelta
    time_per_output_token: timedelta
    expert_uses: int
    expert_misses: int
    acquire_calls: int
    bytes_read: int
    reused_tokens: int

    @property
    def hit_rate(self) -> float:
        """Of the uses of experts."""
        return 1 - self.expert_misses / self.expert_uses if self.expert_uses else 1.0


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Of a token that was written: the natural logarithm of its probability, and the likeliest tokens with theirs."""

    logprob: float
    likeliest: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """A piece of a completion. The last one has `finish` ("end", "stop" or "length") and `usage`. `logprobs`, if they
    were asked for, are one a token."""

    text: str
    tokens: tuple[int, ...]
    finish: str | None
    usage: Usage | None
    logprobs: tuple[Logprobs, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """What is served. `context` in tokens, prompt included."""

    family: str
    fingerprint: str
    context: int
    vocabulary: int
    mode: str


class Client:
    """A connection to an inference service: unix:/path or host:port."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address or default_address()
        self._channel = grpc.aio.insecure_channel(
            self.address,
            options=[
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 250),
                ("grpc.min_reconnect_backoff_ms", 50),
            ],
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
        prompt: str | Sequence[int],
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
    ) -> AsyncGenerator[Completion, None]:
        """Continues a text, or tokens, piece by piece; leaving the loop cancels. Greedy unless a temperature is given.

        With `logprobs`, each token comes with its own and those of so many likeliest in its place.

        Raises InvalidRequest, CacheExhausted, CorruptExpert or ServiceRestarting.
        """
        request = inference_pb2.GenerateRequest(
            sampling=inference_pb2.SamplingParams(
                max_tokens=max_tokens,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                seed=seed,
                stop=stop,
                logprobs=logprobs,
            )
        )
        if isinstance(prompt, str):
            request.text = prompt
        else:
            request.tokens.tokens.extend(prompt)
        await self.until_reachable()
        with _our_errors():
            call = self._stub.Generate(request)
            try:
                async for message in call:
                    yield _completion(message)
            finally:
                call.cancel()

    async def tokenize(self, text: str) -> list[int]:
        await self.until_reachable()
        with _our_errors():
            answer = await self._stub.Tokenize(inference_pb2.TokenizeRequest(text=text), timeout=CONNECT_SECONDS)
        return list(answer.tokens)

    async def model(self) -> Model:
        """What is served."""
        await self.until_reachable()
        with _our_errors():
            answer = await self._stub.GetModel(inference_pb2.GetModelRequest(), timeout=CONNECT_SECONDS)
        return Model(answer.family, answer.fingerprint, answer.context, answer.vocabulary, answer.mode)

    async def until_reachable(self, patience: float = CONNECT_SECONDS) -> None:
        """Waits for the service to be there. Raises ServiceRestarting after `patience` seconds."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), patience)
        except TimeoutError:
            raise ServiceRestarting(
                f"nobody answers at {self.address} for {patience:.0f} s: is `zipmoe up` running there?"
            ) from None


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        detail, after = error.details() or error.code().name, retry_after(error.trailing_metadata())
        raise from_status(error.code().name, detail, after) from error


def _completion(message: inference_pb2.GenerateResponse) -> Completion:
    logprobs = tuple(
        Logprobs(each.logprob, tuple((likely.token, likely.logprob) for likely in each.likeliest))
        for each in message.logprobs
    )
    if not message.finish:
        return Completion(message.text, tuple(message.tokens), None, None, logprobs)
    finish = inference_pb2.FinishReason.Name(message.finish).removeprefix("FINISH_REASON_").lower()
    return Completion(message.text, tuple(message.tokens), finish, _usage(message.usage), logprobs)


def _usage(usage: inference_pb2.Usage) -> Usage:
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.queue_time.ToTimedelta(),
        usage.time_to_first_token.ToTimedelta(),
        usage.time_per_output_token.ToTimedelta(),
        usage.expert_uses,
        usage.expert_misses,
        usage.acquire_calls,
        usage.bytes_read,
        usage.reused_tokens,
    )
