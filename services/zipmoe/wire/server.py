"""Serving: the life of a service's process, from its lock to its last answer."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import uvloop
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_health.v1.health_pb2 import HealthCheckResponse

from zipmoe.errors import InvalidRequest, StaleEpoch, ZipMoEError
from zipmoe.wire.notify import notify_ready
from zipmoe.wire.public import Public
from zipmoe.wire.status import StatusInterceptor
from zipmoe.wire.token import TokenInterceptor

log = logging.getLogger(__name__)

# What is being answered when the service is told to stop may take this long.
GRACE_SECONDS: Final = 5.0

# Clients on the network look so often if we are still there; who asks more often is cut off.
_FEWEST_PING_MILLISECONDS: Final = 10_000

# sysexits.h: start me again, the world has changed. Supervisors restart on it as on any failure.
EXIT_RESTART: Final = 75


@asynccontextmanager
async def serving(
    address: str, register: Callable[[grpc.aio.Server], None], public: Public | None = None
) -> AsyncIterator[None]:
    """Listens at `address` (unix:/path) and at the public door until the body ends, then lets what is being answered
    finish.

    Enter it when the service is ready, under `only_instance`: callers wait for the socket, health says SERVING from the
    first moment. Raises InvalidRequest where an address cannot be listened at.
    """
    health = health_aio.HealthServicer()
    await health.set("", HealthCheckResponse.SERVING)
    # A server for each door: what comes in by the public one cannot get around its token.
    doors = [Public(address, None, None, None), *([public] if public else [])]
    servers = [_server(door, health, register) for door in doors]
    for door, server in zip(doors, servers, strict=True):
        await server.start()
        log.info("ready at %s%s", door.address, " with TLS" if door.certificate else "")
    notify_ready()
    try:
        yield
    finally:
        await health.enter_graceful_shutdown()
        await asyncio.gather(*(server.stop(GRACE_SECONDS) for server in servers))


def _server(
    door: Public, health: health_aio.HealthServicer, register: Callable[[grpc.aio.Server], None]
) -> grpc.aio.Server:
    credentials, token = door.credentials(), door.secret()
    checks = [TokenInterceptor(token)] if token else []
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _FEWEST_PING_MILLISECONDS),
    ]
    server = grpc.aio.server(interceptors=[StatusInterceptor(), *checks], options=options)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    register(server)
    # A socket is for this user and group alone.
    mask = os.umask(0o117)
    try:
        if credentials is None:
            server.add_insecure_port(door.address)
        else:
            server.add_secure_port(door.address, credentials)
    except RuntimeError as error:
        raise InvalidRequest(f"cannot listen at {door.address}: {error}") from error
    finally:
        os.umask(mask)
    return server


def run(name: str, service: Coroutine[Any, Any, None]) -> None:
    """Runs a service's main coroutine as this process, with logs and uvloop.

    SIGTERM or SIGINT cancels the coroutine, wherever it is, and the process exits 0 when that has unwound; a second
    signal ends it at once. An error that is a person's act is one line and exit code 1.
    """
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name:<12} %(message)s", datefmt="%H:%M:%S")
    try:
        uvloop.run(_until_told(service))
    except StaleEpoch as error:
        log.warning("%s", error)
        sys.exit(EXIT_RESTART)
    except ZipMoEError as error:
        log.error("%s", error)
        sys.exit(1)


async def _until_told(service: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(service)

    def tell() -> None:
        task.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    with contextlib.suppress(asyncio.CancelledError):
        await task
