"""Shelf: the packs that were made from the hub, kept in the cache and found again by their names.

    org--name/COMMIT-CODEC/     a pack, never changed: another commit or codec is another pack
    org--name/refs/REVISION     a file that names the one which this revision stands for, here and now

What a name stands for changes only when a person packs it again. So a device that starts a model tonight serves the
weights it served today, asks nobody, and needs no network.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from zipmoe.hub.name import Name
from zipmoe.pack.manifest import MANIFEST


@dataclass(frozen=True, slots=True)
class Shelf:
    folder: Path

    def place(self, name: Name, commit: str, codec: str) -> Path:
        """Where the pack of a commit lies, or is to be made."""
        return self.folder / name.folder / f"{commit}-{codec}"

    def find(self, name: Name) -> Path | None:
        """The pack that a name stands for; None if there is none yet."""
        shelf = self.folder / name.folder
        try:
            named = [shelf / Path(self._ref(name).read_text().strip()).name]
        except OSError:
            named = sorted(shelf.glob(f"{name.revision}-*")) if name.is_commit else []
        return next((path for path in named if (path / MANIFEST).is_file()), None)

    def name(self, name: Name, pack: Path) -> None:
        """From now on, `name` stands for `pack`."""
        ref = self._ref(name)
        ref.parent.mkdir(parents=True, exist_ok=True)
        new = ref.with_name(f".{ref.name}.{os.getpid()}")
        new.write_text(pack.name + "\n")
        new.replace(ref)

    def _ref(self, name: Name) -> Path:
        return self.folder / name.folder / "refs" / quote(name.revision, safe="")
