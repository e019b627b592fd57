"""Shelf: the packs that were made from the hub, kept in the cache and found again by their names.

    org--name/COMMIT-CODEC.VERSION/     a pack, never changed: another commit, codec or format is another pack
    org--name/refs/REVISION             a file that names the one which this revision stands for, here and now

What a name stands for changes only when a person packs it again. So a device that starts a model tonight serves the
weights it served today, asks nobody, and needs no network.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from zipmoe.hub.name import Name
from zipmoe.pack.manifest import MANIFEST, VERSION


@dataclass(frozen=True, slots=True)
class Shelf:
    folder: Path

    def place(self, name: Name, commit: str, codec: str) -> Path:
        """Where the pack of a commit lies, or is to be made."""
        return self.folder / name.folder / f"{commit}-{codec}.{VERSION}"

    def find(self, name: Name) -> Path | None:
        """The pack that a name stands for; None if there is none yet, or only one in an older format."""
        shelf = self.folder / name.folder
        try:
            named = [shelf / Path(self._ref(name).read_text().strip()).name]
        except OSError:
            named = sorted(shelf.glob(f"{name.revision}-*")) if name.is_commit else []
        return next((path for path in named if _is_of_now(path)), None)

    def name(self, name: Name, pack: Path) -> None:
        """From now on, `name` stands for `pack`."""
        ref = self._ref(name)
        ref.parent.mkdir(parents=True, exist_ok=True)
        new = ref.with_name(f".{ref.name}.{os.getpid()}")
        new.write_text(pack.name + "\n")
        new.replace(ref)

    def _ref(self, name: Name) -> Path:
        return self.folder / name.folder / "refs" / quote(name.revision, safe="")


def _is_of_now(pack: Path) -> bool:
    return pack.suffix == f".{VERSION}" and (pack / MANIFEST).is_file()
