"""Retry: how an error says when to ask again, a google.rpc.RetryInfo among a status's details."""

from collections.abc import Iterable

from google.rpc.code_pb2 import RESOURCE_EXHAUSTED
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

_KEY = "grpc-status-details-bin"


def retry_details(message: str, seconds: float) -> tuple[tuple[str, bytes], ...]:
    """Metadata behind a RESOURCE_EXHAUSTED that says: ask again after so many seconds."""
    status, info = Status(code=RESOURCE_EXHAUSTED, message=message), RetryInfo()
    info.retry_delay.FromNanoseconds(round(seconds * 1e9))
    status.details.add().Pack(info)
    return ((_KEY, status.SerializeToString()),)


def retry_after(metadata: Iterable[tuple[str, str | bytes]] | None) -> float | None:
    """Seconds after which to ask again, if metadata say so."""
    for key, value in metadata or ():
        if key == _KEY and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.ToTimedelta().total_seconds())
    return None
