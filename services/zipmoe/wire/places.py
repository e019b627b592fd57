"""Places: where the services of one device meet. Pure; nothing is made here."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from zipmoe.errors import InvalidRequest

# sun_path holds 108 bytes with its end, and gRPC says nothing sensible beyond them.
_LONGEST_SOCKET: Final = 107


def default_run() -> Path:
    return Path(os.environ.get("ZIPMOE_RUN") or f"/tmp/zipmoe-{os.getuid()}")


@dataclass(frozen=True, slots=True)
class Places:
    """`run` holds the sockets; `arena` is the shared memory, on tmpfs."""

    run: Path
    arena: Path

    @classmethod
    def under(cls, run: Path, arena: Path | None = None) -> Self:
        """The arena's default name is made of the run folder's, so that two runs on one device keep apart."""
        run = run.absolute()
        return cls(run, arena or Path("/dev/shm") / str(run).strip("/").replace("/", "-") / "arena")

    @property
    def expert_store(self) -> str:
        return self._socket("expert_store")

    @property
    def scheduler(self) -> str:
        return self._socket("scheduler")

    @property
    def inference(self) -> str:
        return self._socket("inference")

    def _socket(self, name: str) -> str:
        path = self.run / f"{name}.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            raise InvalidRequest(f"{path} is too long for a socket's name: choose a shorter run folder (--run)")
        return f"unix:{path}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run", type=Path, default=default_run(), help="folder of the services' sockets [$ZIPMOE_RUN or %(default)s]"
    )
    parser.add_argument(
        "--arena",
        type=Path,
        default=os.environ.get("ZIPMOE_ARENA"),
        help="shared memory file, on tmpfs [$ZIPMOE_ARENA or /dev/shm/<run folder>/arena]",
    )


def from_arguments(arguments: argparse.Namespace) -> Places:
    return Places.under(arguments.run, arguments.arena)
