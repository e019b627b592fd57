"""Asking: how long a request is waited for, when it is made again, and what its failures are called."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import grpc

from zipmoe.client.connection import CONNECT_SECONDS
from zipmoe.errors import CacheExhausted, TimedOut, from_status
from zipmoe.errors.retry import retry_after


class Asking:
    """One request. `timeout`: seconds for all of it; `patience`: seconds for being refused. None: for ever; not at all.

    It can be made again while nothing of its answer has come, for then nothing was computed.
    """

    def __init__(self, timeout: float | None, patience: float | None) -> None:
        now = time.monotonic()
        self._end = None if timeout is None else now + timeout
        self._patient_until = now + (patience or 0.0)
        self._answered = False

    def answered(self) -> None:
        """A piece of the answer has come."""
        self._answered = True

    @property
    def left(self) -> float | None:
        """Seconds until the timeout."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    @property
    def connecting(self) -> float:
        """Seconds to wait for the service to be there."""
        left = self.left
        return CONNECT_SECONDS if left is None else min(CONNECT_SECONDS, left)

    def pause(self, refused: CacheExhausted) -> float:
        """Seconds after which to ask again. Raises what refused it if that is of no use, or takes too long."""
        after = refused.retry_after
        ends = self._patient_until if self._end is None else min(self._end, self._patient_until)
        if self._answered or after is None or time.monotonic() + after > ends:
            raise refused
        return after


@contextmanager
def our_errors(timeout: float | None = None) -> Iterator[None]:
    """Around a call: its failure is one of our errors. `timeout` is that which the caller has chosen."""
    try:
        yield
    except grpc.RpcError as error:
        code, detail = error.code(), error.details() or error.code().name
        if timeout is not None and code is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise TimedOut(f"not answered in full within {timeout:g} s: allow more, or ask for less") from error
        # Pairs of a key and a value, in both kinds of client.
        metadata = cast("Iterable[tuple[str, str | bytes]] | None", error.trailing_metadata())
        raise from_status(code.name, detail, retry_after(metadata)) from error
