"""Profile: the rates of this device with a pack, kept from before or measured now.

Measured in a process of its own, so that whoever asks neither imports numpy and grpc nor has a second event loop.
"""

import json
import os
import subprocess
from pathlib import Path

from zipmoe.errors import ServiceRestarting, from_status
from zipmoe.pack.reader import Pack
from zipmoe.plan.rates import Rates
from zipmoe.profile import kept
from zipmoe.profile.child import child
from zipmoe.profile.kept import Profile
from zipmoe.profile.progress import Progress, silent


def profile(packed: Path, again: bool = False, progress: Progress = silent) -> Profile:
    """The profile of a pack, measured if it is not kept or `again`. Takes seconds then.

    InvalidRequest or CorruptExpert if something is wrong with the pack, ServiceRestarting if measuring failed."""
    with Pack.open(packed) as pack:
        if not again and (found := kept.load(pack)) is not None:
            return found
        load = os.getloadavg()[0]
        return kept.keep(pack, _measured(packed, progress), load)


def _measured(packed: Path, progress: Progress) -> Rates:
    with child("zipmoe.profile", packed, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            match json.loads(line):
                case {"step": [done, total, what]}:
                    progress(done, total, what)
                case {"error": [status, message]}:
                    raise from_status(status, message)
                case {"rates": rates}:
                    return Rates.from_json(rates)
    raise ServiceRestarting("the process that measures died, see its message above: try again")
