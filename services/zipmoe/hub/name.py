"""Name: what a person calls a model on the hub."""

import re
from dataclasses import dataclass
from typing import Final

MAIN: Final = "main"

_PART: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"(?P<id>{_PART}/{_PART})(?:@(?P<revision>[^\s@]+))?")
_COMMIT: Final = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Name:
    """`id` is org/name; `revision` a branch, a tag or a commit."""

    id: str
    revision: str = MAIN

    def __str__(self) -> str:
        return self.id if self.revision == MAIN else f"{self.id}@{self.revision}"

    @property
    def is_commit(self) -> bool:
        """True if its files can never be others."""
        return _COMMIT.fullmatch(self.revision) is not None

    @property
    def folder(self) -> str:
        """The id as the name of one folder; no two ids have the same."""
        return self.id.replace("/", "--")


def parse(text: str) -> Name | None:
    """org/name or org/name@revision; None if `text` is neither."""
    found = _NAME.fullmatch(text)
    if found is None or "--" in found["id"] or ".." in text:
        return None
    return Name(found["id"], found["revision"] or MAIN)
