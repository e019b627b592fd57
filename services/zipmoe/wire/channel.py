"""Channels to the other services: ready to wait for a peer that restarts."""

from typing import Final

import grpc

# How long a caller waits for a service to come back before it gives up.
PATIENCE_SECONDS: Final = 15.0

# A restarted peer must be found within moments; and two channels must not share a connection's old failure.
_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def connect(address: str) -> grpc.aio.Channel:
    """`address` is unix:/path or host:port. Connects when first used; close it, or use it in `async with`."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)
