"""The one number is kept: under a control group's limit of it, a mixed load meets the limit never."""

import os
from pathlib import Path

import pytest
from benchmarks.group import Group
from benchmarks.soak import served, soak

from zipmoe.cli.allotment import allot
from zipmoe.pack.reader import Pack

MINUTES, KV_TOKENS = 0.4, 2048


@pytest.mark.skipif(os.geteuid() != 0 or not os.access("/sys/fs/cgroup", os.W_OK), reason="needs control groups")
async def test_a_mixed_load_stays_within_the_memory_it_was_given(demo_pack: Path) -> None:
    """With room for a third of the experts."""
    with Pack.open(demo_pack) as pack:
        memory = allot(pack, "1GiB", "auto", os.cpu_count() or 1, KV_TOKENS).floor + pack.geometry.slot_bytes * 40
    with served(demo_pack, f"{memory // 2**20}MiB", KV_TOKENS) as (group, places):
        before = limits(group)
        rows, done = await soak(group, places, MINUTES)
        assert limits(group) == before == (0, 0)
    assert done.done > 0
    assert max(row.usage for row in rows) <= memory


def limits(group: Group) -> tuple[int, int]:
    """How often the limit was met, and processes killed for it."""
    return group.met(), group.killed()
