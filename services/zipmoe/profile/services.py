"""Services: a real expert store and a real scheduler, as children and with all that is theirs in one folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import process_time

from zipmoe.profile.child import Child, child
from zipmoe.wire.places import Places


@dataclass(frozen=True, slots=True)
class Services:
    places: Places
    processes: tuple[Child, ...]

    @property
    def ended(self) -> bool:
        """Whether one of them is gone."""
        return any(process.poll() is not None for process in self.processes)

    @property
    def said(self) -> str:
        return _log(self.places.run).read_text().strip() or "nothing"

    def processor_seconds(self) -> float:
        """That this process, the services and their workers have used until now."""
        pids = {process.pid for process in self.processes}
        ticks = 0
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                # Behind the name, which may contain anything: state, parent, and later user and system time.
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(entry) in pids or int(fields[1]) in pids:
                ticks += int(fields[11]) + int(fields[12])
        return process_time() + ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def services(packed: Path, folder: Path, workers: int) -> Iterator[Services]:
    """Starts them, with a slot for every expert of the pack."""
    places = Places.under(folder, folder / "arena")
    where = ("--run", places.run, "--arena", places.arena)
    size = ("--arena-size", "100%", "--workers", workers)
    with (
        _log(folder).open("w") as log,
        child("zipmoe.expert_store", "--pack", packed, *size, *where, stdout=log, stderr=log) as store,
        child("zipmoe.scheduler", *where, stdout=log, stderr=log) as scheduler,
    ):
        yield Services(places, (store, scheduler))


def _log(folder: Path) -> Path:
    return folder / "services.log"
