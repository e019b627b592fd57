"""Lease: what it costs to hold an expert for a moment."""

from pathlib import Path
from typing import Final

from zipmoe.arena.leases import Leases
from zipmoe.profile.timing import median_of, seconds_of

_TIMES: Final = 500
LEASE_SECONDS: Final = 0.03


def lease(folder: Path) -> float:
    """Seconds to take a lease and drop it. Makes a lock file in `folder`."""
    leases = Leases(folder / "arena")

    def act() -> None:
        for expert in range(_TIMES):
            leases.lease(expert)
            leases.release(expert)

    try:
        return median_of(lambda: seconds_of(act), LEASE_SECONDS) / _TIMES
    finally:
        leases.close()
