"""What pyproject.toml asks for, one a line: python needs.py serve build-system (extras, and what building needs)."""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def needs(project: dict[str, Any], what: str) -> Iterator[str]:
    if what == "build-system":
        yield from project["build-system"]["requires"]
        # scikit-build-core fetches them where they are not installed.
        yield from ("cmake", "ninja")
    else:
        yield from project["project"]["optional-dependencies"][what]


if __name__ == "__main__":
    pyproject = tomllib.loads(Path("pyproject.toml").read_text())
    print(*(need for what in sys.argv[1:] for need in needs(pyproject, what)), sep="\n")
