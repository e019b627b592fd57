"""Arguments: what a person gets wrong is said in a line, and memory that is not there is not divided."""

import subprocess
import sys

import pytest

from tests.arena.shapes import header
from zipmoe.arena.layout import Header, divide
from zipmoe.errors import CacheExhausted, InvalidRequest
from zipmoe.scheduler.__main__ import divided

PACKED, PLAIN = header(6, part=5000), header(6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pools", "1,2"), "'1,2' (or ZIPMOE_POOLS) is not three numbers of slots: 0,300,300"),
        (("--pools", "1,2,-3"), "is not three numbers of slots"),
        (("--order", "random"), "is no order: choose one of affinity, tokens, asked, johnson"),
        (("--decoding", "fast"), "invalid float value: 'fast'"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], said: str) -> None:
    command = [sys.executable, "-m", "zipmoe.scheduler", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr


def test_pools_are_as_asked_for() -> None:
    assert divided(PACKED, (0, 6, 6)) == divide(PACKED, 0, 6, 6)
    assert divided(PLAIN, (6, 0, 0)) == divide(PLAIN, 6, 0, 0)


@pytest.mark.parametrize("pools", [(0, 7, 6), (1, 6, 6), (40, 0, 0)])
def test_more_slots_than_there_is_room_for_are_refused(pools: tuple[int, int, int]) -> None:
    with pytest.raises(CacheExhausted, match=r"the arena has 0\.\d: give it more memory"):
        divided(PACKED, pools)


@pytest.mark.parametrize(
    ("shape", "pools"), [(PACKED, (1, 1, 6)), (PACKED, (0, 0, 0)), (PACKED, (0, 6, 1)), (PLAIN, (2, 2, 2))]
)
def test_slots_that_no_expert_can_be_multiplied_from_are_refused(shape: Header, pools: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidRequest, match="2 slots or more for words, or for each plane if kept packed"):
        divided(shape, pools)
