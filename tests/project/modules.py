"""Modules: all of the package's source, and what each file imports."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROOTS = ("proto", "client", "services")


@dataclass(frozen=True, slots=True)
class Module:
    """`name` by full path (zipmoe.arena.layout), `imports` likewise, wherever in the file they stand."""

    name: str
    file: Path
    imports: frozenset[str]

    def __str__(self) -> str:
        return self.name


def modules() -> list[Module]:
    return [
        Module(_name(file.relative_to(root)), file, frozenset(_imports(file)))
        for root in (REPOSITORY / name for name in ROOTS)
        for file in sorted(root.rglob("*.py"))
        if "build" not in file.relative_to(root).parts
    ]


def within(name: str, packages: tuple[str, ...]) -> bool:
    """True if a module is one of these packages or lies in one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def _name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are by full path"
            assert node.module is not None
            # `from zipmoe.pack import manifest` may name a module as well as a thing in one.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
