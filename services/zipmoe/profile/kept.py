"""Kept: profiles measured before, a small file each. One that does not fit, for whatever reason, counts as none."""

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from zipmoe.pack.reader import Pack
from zipmoe.plan.rates import Rates
from zipmoe.profile.device import Device

# To be raised when something is measured otherwise.
VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Profile:
    """`measured` is when, in seconds since 1970, and `load` the load average before: well above 0, others ran, and the
    rates are too low. `file` is where it is kept, if it could be."""

    rates: Rates
    measured: int
    load: float
    file: Path | None


def cache_folder() -> Path:
    """$ZIPMOE_CACHE, or zipmoe in the user's cache."""
    if own := os.environ.get("ZIPMOE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zipmoe"


def load(pack: Pack) -> Profile | None:
    """What was kept of this pack on this device."""
    file = _file(pack)
    try:
        found = json.loads(file.read_bytes())
        if found["about"] == _about(pack):
            return Profile(Rates.from_json(found["rates"]), int(found["measured"]), float(found["load"]), file)
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        pass
    return None


def keep(pack: Pack, rates: Rates, load: float) -> Profile:
    """Keeps it in place of what was kept before, whole or not at all."""
    file, now = _file(pack), int(time.time())
    text = json.dumps({"about": _about(pack), "measured": now, "load": load, "rates": rates.to_json()}, indent=1)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text + "\n")
        new.replace(file)
    except OSError:
        # A cache that cannot be written to costs seconds at every start, no more.
        with suppress(OSError):
            new.unlink()
        return Profile(rates, now, load, None)
    return Profile(rates, now, load, file)


def _file(pack: Pack) -> Path:
    return cache_folder() / f"{pack.fingerprint}-{pack.codec}.profile.json"


def _about(pack: Pack) -> dict[str, object]:
    """What must be the same now as then."""
    device = asdict(Device.of(pack.experts_path))
    return {"version": VERSION, "fingerprint": pack.fingerprint, "codec": pack.codec, "device": device}
