"""Progress: what is heard of a measuring that is under way."""

from collections.abc import Callable

# (steps done, of how many, what is measured now)
Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, what: str) -> None:
    """No progress asked for."""
