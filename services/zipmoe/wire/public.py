"""Public: the door for who is not on this device. A TCP port, with TLS and a token where they are set.

The sockets in the run folder have neither: the kernel lets nobody there but their user and group.
"""

import argparse
import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from zipmoe.errors import InvalidRequest

log = logging.getLogger(__name__)

_LOOPBACK = ("127.", "localhost:", "[::1]:")


@dataclass(frozen=True, slots=True)
class Public:
    """`address` is host:port; the others are files, of PEM and of a line. They are read when the door opens."""

    address: str
    certificate: Path | None
    key: Path | None
    token: Path | None

    @property
    def exposed(self) -> bool:
        """True if who listens on the network can read the token."""
        return self.token is not None and self.certificate is None and not self.address.startswith(_LOOPBACK)

    def credentials(self) -> grpc.ServerCredentials | None:
        """None without TLS. Raises InvalidRequest for files that do not do."""
        if self.certificate is None and self.key is None:
            return None
        if self.certificate is None or self.key is None:
            raise InvalidRequest("TLS needs a certificate and its key: --tls-certificate FILE --tls-key FILE")
        chain, secret = _read(self.certificate), _read(self.key)
        try:
            # gRPC would start with a pair that does not fit, and refuse every connection.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
        except ssl.SSLError as error:
            said = f"{self.certificate} and {self.key} are no certificate and its key, as PEM: {error}"
            raise InvalidRequest(said) from error
        return grpc.ssl_server_credentials([(secret, chain)])

    def secret(self) -> str | None:
        """None without a token. Raises InvalidRequest for a file that holds none; warns where others can read it."""
        if self.token is None:
            return None
        found = _read(self.token).decode(errors="replace").strip()
        # What HTTP lets into a header.
        if not found or not found.isascii() or not found.isprintable():
            said = f"{self.token} holds no token: write a line of plain characters into it (openssl rand -hex 32)"
            raise InvalidRequest(said)
        if self.exposed:
            said = "%s has a token and no TLS: whoever listens on the network can read it (--tls-certificate)"
            log.warning(said, self.address)
        return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default=os.environ.get("ZIPMOE_LISTEN"),
        help="for clients, beside the socket in --run [$ZIPMOE_LISTEN, or nowhere else]",
    )
    for option, variable, what in (
        ("--tls-certificate", "ZIPMOE_TLS_CERTIFICATE", "with TLS there: the certificate, and those it rests on, PEM"),
        ("--tls-key", "ZIPMOE_TLS_KEY", "the certificate's key, PEM"),
        ("--token", "ZIPMOE_TOKEN_FILE", "holds what clients there must know"),
    ):
        default = os.environ.get(variable) or None
        parser.add_argument(option, type=Path, metavar="FILE", default=default, help=f"{what} [${variable}]")


def from_arguments(arguments: argparse.Namespace) -> Public | None:
    """None if nothing but the socket is listened at."""
    if not arguments.listen:
        return None
    return Public(arguments.listen, arguments.tls_certificate, arguments.tls_key, arguments.token)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"cannot read {file}: {error.strerror} (as user {os.getuid()}, group {os.getgid()})"
        ) from error
