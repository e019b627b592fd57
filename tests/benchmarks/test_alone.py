"""Alone: a contestant waits while the machine is measured, and goes on."""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.group import Group
from benchmarks.peers.alone import alone
from psutil import Process

CONTESTANT = """
from contextlib import nullcontext
from benchmarks.peers.contest import pause, tell

class Writer:
    still = staticmethod(nullcontext)

tell("start")
pause(Writer())
tell("decode-1", waited=open("measured").read())
"""


class Anywhere(Group):
    """No control group: those need root."""

    def __init__(self) -> None: ...

    def within(self, command: Sequence[str]) -> list[str]:
        return list(command)

    def killed(self) -> int:
        return 0

    def processes(self) -> list[Process]:
        return []


def test_a_pause_lasts_until_all_is_measured(tmp_path: Path) -> None:
    measured = tmp_path / "measured"
    contestant = CONTESTANT.replace('"measured"', repr(str(measured)))
    heard = alone(
        [sys.executable, "-c", contestant],
        Anywhere(),
        60,
        tmp_path / "log",
        lambda: measured.write_text("yes"),
    )
    assert heard.failure == ""
    assert heard.phases == {"start": {}, "decode-1": {"waited": "yes"}}
