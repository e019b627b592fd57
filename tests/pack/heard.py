"""Heard: a progress callback that remembers."""


class Heard:
    def __init__(self) -> None:
        self.done: list[int] = []
        self.total = 0
        self.names: list[str] = []

    def __call__(self, done: int, total: int, what: str) -> None:
        self.done.append(done)
        self.total = total
        self.names.append(what)

    @property
    def resumed(self) -> int:
        """How many blobs were there already."""
        return sum(name.endswith(" is there") for name in self.names)
