"""Failure: what went wrong between the hub and us, in our own errors: whose act it was, and what to do about it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2
from huggingface_hub import errors

from zipmoe.errors import DiskFull, InvalidRequest, ServiceRestarting, ZipMoEError
from zipmoe.hub.name import Name

_LOG_IN: Final = "log in with `hf auth login` or set HF_TOKEN"
_AGAIN: Final = "run the same command again, every file that was fetched whole is kept"
_BUSY: Final = (408, 429)


@contextmanager
def explained(name: Name, endpoint: str) -> Iterator[None]:
    """What huggingface_hub raises within, as one of ours."""
    try:
        yield
    except (
        httpx2.HTTPError,
        httpx2.InvalidURL,
        OSError,
        RuntimeError,  # this and ValueError: what the Xet transfer makes of its own
        ValueError,
        errors.EntryNotFoundError,
        errors.SafetensorsParsingError,
    ) as error:
        raise explain(error, name, endpoint) from error


def explain(error: Exception, name: Name, endpoint: str) -> ZipMoEError:
    """The most particular cause first: they derive from one another."""
    page = f"{endpoint}/{name.id}"
    match error:
        case errors.GatedRepoError():
            return InvalidRequest(f"{name} is gated: accept its terms at {page}, {_LOG_IN}, then try again")
        case errors.RepositoryNotFoundError():
            return InvalidRequest(
                f"{name.id} is no folder here, and no model at {endpoint} that you may see: check the spelling, or if "
                f"it is private, {_LOG_IN}"
            )
        case errors.RevisionNotFoundError():
            return InvalidRequest(f"{name.id} has no revision {name.revision!r}: see {page}/tree/main for what it has")
        case errors.RemoteEntryNotFoundError():
            missing = str(error.response.request.url).rpartition("/")[2]
            return InvalidRequest(f"{name} has no {missing}: use a checkpoint for transformers, in safetensors")
        case errors.HfHubHTTPError():
            return _by_status(error, name, endpoint)
        case errors.SafetensorsParsingError() | errors.HFValidationError():
            return InvalidRequest(f"{name}: {_line(error)}")
        case _ if _is_full(error):
            return DiskFull(f"the disk is full while {name} is fetched: make room, then {_AGAIN}")
    cause = error.__cause__ or error
    return ServiceRestarting(
        f"{name} cannot be fetched from {endpoint} ({type(cause).__name__}: {_line(cause)}): check network and proxy, "
        f"or let HF_ENDPOINT name a mirror; then {_AGAIN}. With HF_HUB_OFFLINE=1, what is in the cache is used as it is"
    )


def _by_status(error: errors.HfHubHTTPError, name: Name, endpoint: str) -> ZipMoEError:
    code = error.response.status_code
    if code in (401, 403):
        return InvalidRequest(f"{endpoint} refuses {name} ({code}): {_LOG_IN}, with a token that may read it")
    if code in _BUSY or code >= 500:
        return ServiceRestarting(f"{endpoint} answers {code} for {name}: wait a little, then {_AGAIN}")
    return InvalidRequest(f"{endpoint} answers {code} for {name}: {_line(error)}")


def _is_full(error: Exception) -> bool:
    """A transfer in native code has words for it alone."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
