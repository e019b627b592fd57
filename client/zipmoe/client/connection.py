"""Connection: where a service is, how it is reached again, and which calls may be made twice."""

import json
import os
from typing import Any, Final

from zipmoe.errors import ServiceRestarting

# A service that restarts is back within moments, and a caller would rather wait than fail.
CONNECT_SECONDS: Final = 15.0

# Answers that change nothing are asked for again. A Generate is not: it may have been computing.
_ASKED_AGAIN = {
    "methodConfig": [
        {
            "name": [
                {"service": "zipmoe.v1.InferenceService", "method": method}
                for method in ("GetModel", "Tokenize", "GetLoad")
            ],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.service_config", json.dumps(_ASKED_AGAIN)),
    # A device that is switched off says no goodbye: one that answers no ping under a request is away. A socket does.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)


def default_address() -> str:
    """$ZIPMOE_ADDRESS, or the socket where `zipmoe up` listens by default."""
    run = os.environ.get("ZIPMOE_RUN") or f"/tmp/zipmoe-{os.getuid()}"
    return os.environ.get("ZIPMOE_ADDRESS") or f"unix:{run}/inference.sock"


def nobody_answers(address: str, patience: float) -> ServiceRestarting:
    said = f"nobody answers at {address} for {patience:.0f} s: is `zipmoe up` running there?"
    if not address.startswith("unix:"):
        said += " Is it TLS that is spoken there, or not, and is the certificate for this name?"
    return ServiceRestarting(said)
