"""Security: how a client knows its service, by a certificate, and is known to it, by a token. For host:port alone: who
may open a unix: socket is for the kernel to say."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import grpc

from zipmoe.errors import InvalidRequest

_LOOPBACK = ("127.", "localhost:", "[::1]:")


@dataclass(frozen=True, slots=True)
class Security:
    """`credentials` for the channel, None without TLS; `metadata` for every call."""

    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...]


def security(address: str, certificate: Path | None, token: str | None) -> Security:
    """`certificate` is a PEM file: the service's own, or those of who signed it; $ZIPMOE_TLS_CERTIFICATE if None. If
    `token` is None, it is what the file $ZIPMOE_TOKEN_FILE holds.

    Raises InvalidRequest for files that cannot be read. Warns of a token that others can read on its way.
    """
    if address.startswith("unix:"):
        return Security(None, ())
    certificate, token = certificate or _named("ZIPMOE_TLS_CERTIFICATE"), token or _default_token()
    credentials = None if certificate is None else grpc.ssl_channel_credentials(_read(certificate))
    if token is None:
        return Security(credentials, ())
    if credentials is None and not address.startswith(_LOOPBACK):
        said = f"the token goes to {address} without TLS: whoever listens on the network can read it (certificate=...)"
        warnings.warn(said, stacklevel=3)
    return Security(credentials, (("authorization", f"Bearer {token}"),))


def token_in(file: Path) -> str:
    """Raises InvalidRequest for a file that cannot be read."""
    return _read(file).decode(errors="replace").strip()


def _default_token() -> str | None:
    file = _named("ZIPMOE_TOKEN_FILE")
    return None if file is None else token_in(file)


def _named(variable: str) -> Path | None:
    return Path(os.environ[variable]) if os.environ.get(variable) else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read {file}: {error.strerror}") from error
