"""What can go wrong, cut by whose act it was. Services raise these, `wire` carries them as status codes, clients catch
them. Every message names the thing, what is wrong with it, and what to do."""

__all__ = [
    "CacheExhausted",
    "CorruptExpert",
    "DiskFull",
    "InvalidRequest",
    "ServiceRestarting",
    "StaleEpoch",
    "TimedOut",
    "Unauthenticated",
    "UnknownExpert",
    "WorkerLost",
    "ZipMoEError",
    "from_status",
]


class ZipMoEError(Exception):
    """Base of all that ZipMoE raises on purpose."""

    # The gRPC status code that carries it between processes.
    status = "INTERNAL"


class InvalidRequest(ZipMoEError):
    """You asked for something that cannot be: a prompt beyond the context, an unsupported checkpoint, a bad option."""

    status = "INVALID_ARGUMENT"


class Unauthenticated(ZipMoEError):
    """You called at a door that wants a token, and gave none or another one."""

    status = "UNAUTHENTICATED"


class UnknownExpert(ZipMoEError):
    """You named an expert that the model does not have."""

    status = "NOT_FOUND"


class CacheExhausted(ZipMoEError):
    """Memory is too small for what was asked: the arena, its tmpfs, or every slot is in use for too long."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """`retry_after`: seconds after which asking again is worth it; None: it is not, unless something changes."""
        super().__init__(message)
        self.retry_after = retry_after


class DiskFull(ZipMoEError):
    """The disk ran out, or would. What was written so far is kept and the same command goes on from there."""

    status = "RESOURCE_EXHAUSTED"


class CorruptExpert(ZipMoEError):
    """The world damaged the model: a checksum differs, a file ends early. Never raised for a transient failure."""

    status = "DATA_LOSS"


class ServiceRestarting(ZipMoEError):
    """A service could not be reached for longer than a restart takes. Ask again."""

    status = "UNAVAILABLE"


class WorkerLost(ServiceRestarting):
    """A worker process died under a load. The load may be asked for again."""


class StaleEpoch(ZipMoEError):
    """The arena was made anew since you attached. Attach again."""

    status = "ABORTED"


class TimedOut(ZipMoEError):
    """You allowed a request so much time, and it was over before the answer was complete. Clients raise it."""

    status = "DEADLINE_EXCEEDED"


def from_status(status: str, detail: str, retry_after: float | None = None) -> ZipMoEError:
    """The error that a status code stands for; the base class for codes that no service of ours gives on purpose."""
    if status == "DEADLINE_EXCEEDED":
        # Deadlines between us are a caller's patience with a service that should have been there.
        return ServiceRestarting(detail)
    if status == CacheExhausted.status:
        return CacheExhausted(detail, retry_after)
    kinds = (InvalidRequest, Unauthenticated, UnknownExpert, CorruptExpert, ServiceRestarting, StaleEpoch)
    return next((kind for kind in kinds if kind.status == status), ZipMoEError)(detail)
