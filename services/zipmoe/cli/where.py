"""Where: the inference service that a command talks to, and how they know one another."""

from dataclasses import dataclass
from pathlib import Path

from zipmoe.client.security import token_in
from zipmoe.wire.places import Places, default_run


@dataclass(frozen=True, slots=True)
class Where:
    """As Client takes it."""

    address: str
    certificate: Path | None
    token: str | None


def where(address: str | None, run: Path | None, certificate: Path | None, token: Path | None) -> Where:
    """Without an address, the socket in the run folder. Raises InvalidRequest if the token's file cannot be read."""
    address = address or Places.under(run or default_run()).inference
    return Where(address, certificate, None if token is None else token_in(token))
