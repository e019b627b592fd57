"""Token: who knows it may call. It comes with every call, as `authorization: Bearer TOKEN`."""

import hmac
from collections.abc import Awaitable, Callable
from typing import NoReturn

import grpc

from zipmoe.errors import Unauthenticated
from zipmoe.wire.status import Context, Handler


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Answers who does not know the token with Unauthenticated, whatever they ask. Stands behind StatusInterceptor."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        given = dict(handler_call_details.invocation_metadata or ()).get("authorization", "")
        # Takes as long for a token that is nearly right as for one that is not at all.
        if hmac.compare_digest(given.encode() if isinstance(given, str) else given, self._expected):
            return await continuation(handler_call_details)
        return _REFUSE_WRONG if given else _REFUSE_NONE


def _refuse(message: str) -> Handler:
    async def refuse(request: object, context: Context) -> NoReturn:  # noqa: ARG001
        raise Unauthenticated(message)

    # Who is refused sees a status and no answer, so one kind of handler does for all kinds of calls.
    return grpc.unary_unary_rpc_method_handler(refuse)


_REFUSE_NONE = _refuse(
    "this service answers only who knows its token: name the file that holds it (Client(token=...), --token FILE, or "
    "$ZIPMOE_TOKEN_FILE)"
)
_REFUSE_WRONG = _refuse("the token is not this service's: compare the file with the one it was started with")
