"""Exchange: many calls over one stream, because to open one costs as much as several messages.

    caller: ask(request) ── call 7 ──▶ answer_each ──▶ answers(request), a task each
               ▲                                            │
               └──────────── messages of call 7 ◀───────────┘

Every call has a number, which its messages name. An error ends the stream, and with it every call that is under way.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import grpc

from zipmoe.errors import ServiceRestarting, ZipMoEError
from zipmoe.wire.status import raised


class Numbered(Protocol):
    """A message: `call` is the number of its call; a request may also `end` an earlier one, whose number it has."""

    call: int


Asked = TypeVar("Asked", bound=Numbered)
Told = TypeVar("Told", bound=Numbered)

# Generic in their type stubs alone, hence the quotes.
Stream: TypeAlias = "grpc.aio.StreamStreamCall[Any, Any]"


class Exchange(Generic[Asked, Told]):
    """The caller's side. The stream is opened by the first call, and by the first after it has ended."""

    def __init__(self, open_stream: Callable[[], Stream]) -> None:
        self._open_stream = open_stream
        self._stream: Stream | None = None
        self._listening: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._told: dict[int, asyncio.Queue[Told | ZipMoEError]] = {}

    async def ask(self, request: Asked, messages: int) -> AsyncGenerator[Told, None]:
        """Yields so many messages. Raises what the stream ends with before."""
        number = request.call = next(self._numbers)
        told = self._told[number] = asyncio.Queue()
        try:
            await self._write(request)
            for _ in range(messages):
                message = await told.get()
                if isinstance(message, ZipMoEError):
                    raise message
                yield message
        finally:
            del self._told[number]

    async def end(self, request: Asked) -> None:
        """Tells that no more messages are wanted of the call whose number the request has."""
        if self._stream is None or self._stream.done():
            # The call has ended with it.
            return
        with contextlib.suppress(ZipMoEError):
            await self._write(request)

    async def _write(self, request: Asked) -> None:
        # One at a time, as gRPC wants it.
        async with self._writing:
            if self._stream is None or self._stream.done():
                self._stream = self._open_stream()
                self._listening = asyncio.create_task(self._listen(self._stream))
            try:
                with raised():
                    await self._stream.write(request)
            except asyncio.InvalidStateError:
                raise ServiceRestarting("the other service has ended the stream: ask again") from None

    async def _listen(self, stream: Stream) -> None:
        error: ZipMoEError = ServiceRestarting("the other service has ended the stream: ask again")
        try:
            with raised():
                async for message in stream:
                    if (told := self._told.get(message.call)) is not None:
                        told.put_nowait(message)
        except ZipMoEError as ended:
            error = ended
        finally:
            # Also where the channel was closed under it.
            for told in self._told.values():
                told.put_nowait(error)


async def answer_each(
    requests: AsyncIterator[Asked],
    answers: Callable[[Asked], AsyncGenerator[Told, None]],
    ends: Callable[[Asked], bool],
    closed: "asyncio.Future[None]",
) -> AsyncGenerator[Told, None]:
    """The service's side: what `answers` yields to each request, as it comes, until the caller has no more requests and
    all are answered, or the service has `closed`. Raises what an answer raises. Calls that the caller `ends`, and all
    of one that goes away, are closed."""
    # None: look at what has ended.
    told: asyncio.Queue[Told | None] = asyncio.Queue()
    calls: dict[int, asyncio.Task[None]] = {}

    def look(_: object) -> None:
        told.put_nowait(None)

    async def answer(request: Asked) -> None:
        async with aclosing(answers(request)) as messages:
            async for message in messages:
                message.call = request.call
                told.put_nowait(message)

    async def hear() -> None:
        async for request in requests:
            if not ends(request):
                calls[request.call] = asyncio.create_task(answer(request))
                calls[request.call].add_done_callback(look)
            elif (call := calls.pop(request.call, None)) is not None:
                call.cancel()

    hearing = asyncio.create_task(hear())
    hearing.add_done_callback(look)
    closed.add_done_callback(look)
    try:
        while not closed.done():
            message = await told.get()
            if message is not None:
                yield message
                continue
            for number, call in list(calls.items()):
                if call.done():
                    del calls[number]
                    call.result()
            if hearing.done():
                hearing.result()
                if not calls and told.empty():
                    return
    finally:
        closed.remove_done_callback(look)
        for task in (hearing, *calls.values()):
            task.cancel()
