"""Errors on the wire: our classes become status codes on the way out of a service and classes again on the way in."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, NoReturn, TypeAlias

import grpc

from zipmoe.errors import CacheExhausted, ServiceRestarting, ZipMoEError, from_status
from zipmoe.errors.retry import retry_details

log = logging.getLogger(__name__)

# Generic in their type stubs alone, hence the quotes.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

# What grpc.aio says of a stream that ends while a request is being written to it: it writes this over what the other
# side ended it with, or over its having died.
_ENDED_UNDER_A_WRITE = "Internal error from Core"


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Turns whatever a handler raises into a status. UNKNOWN never leaves a service: what is not ours is INTERNAL."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        serialisers = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary), *serialisers)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream), *serialisers)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(_unary(handler.stream_unary), *serialisers)
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream), *serialisers)
        return handler


def _unary(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    async def answer(request: object, context: Context) -> object:
        try:
            return await behaviour(request, context)
        except Exception as error:
            await _abort(error, context)

    return answer


def _stream(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    async def answer(request: object, context: Context) -> AsyncIterator[object]:
        try:
            # Closed at once when the caller goes away, not when the garbage collector comes by.
            async with aclosing(behaviour(request, context)) as messages:
                async for message in messages:
                    yield message
        except Exception as error:
            await _abort(error, context)

    return answer


async def _abort(error: Exception, context: Context) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, ZipMoEError):
        log.exception("a fault of ours, answered as INTERNAL")
        await context.abort(grpc.StatusCode.INTERNAL, f"a fault of the service, see its log: {error!r}")
    details: tuple[tuple[str, bytes], ...] = ()
    if isinstance(error, CacheExhausted) and error.retry_after is not None:
        details = retry_details(str(error), error.retry_after)
    await context.abort(grpc.StatusCode[error.status], str(error), details)


@contextmanager
def raised() -> Iterator[None]:
    """Around a call to another service: its status comes out as one of our errors. Where the status is lost, that is
    ServiceRestarting, for asked again the service tells it again."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.details() == _ENDED_UNDER_A_WRITE:
            raise ServiceRestarting("the other service ended the stream as it was written to: ask again") from error
        raise from_status(error.code().name, error.details() or error.code().name) from error
