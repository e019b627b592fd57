"""Allotment: the one number is divided without a rest, or refused with the number that would do."""

import re
from pathlib import Path

import pytest

from zipmoe.cli.allotment import KV_TOKENS, allot
from zipmoe.cli.overhead import overhead
from zipmoe.cli.planning import sequence_bytes
from zipmoe.errors import CacheExhausted
from zipmoe.pack.reader import Pack

MIB = 1 << 20


def test_what_is_left_is_the_experts(demo_pack: Path) -> None:
    with Pack.open(demo_pack) as pack:
        few = allot(pack, "4GiB", "pack4", workers=2, kv_tokens=1024)
        assert few.budget.fixed + few.slots == 4096 * MIB
        assert few.budget.sequences == sequence_bytes(pack, 1024) == 2 * 2 * 8 * 256 * 1024
        many = allot(pack, "40GiB", "pack4", workers=2, kv_tokens=None)
        assert many.arena == many.smallest.size, "no more than all experts take"
        assert many.kv_tokens == min(pack.config["max_position_embeddings"], KV_TOKENS)


def test_too_little_is_refused_with_what_would_do(demo_pack: Path) -> None:
    with Pack.open(demo_pack) as pack:
        with pytest.raises(CacheExhausted, match=r"20 MiB are too few.*ask for \d+ MiB") as refused:
            _ = allot(pack, "20MiB", "auto", workers=2, kv_tokens=1024).slots
        told = re.search(r"ask for (\d+) MiB", str(refused.value))
        assert told is not None
        # Another measurement of the processes may differ by a little.
        assert allot(pack, f"{int(told[1]) + 16}MiB", "auto", workers=2, kv_tokens=1024).slots > 0


def test_code_that_all_processes_share_is_counted_once() -> None:
    # This process counts, too, and has more than a command has.
    one, many = overhead(1), overhead(9)
    assert 100 * MIB < one < 4096 * MIB
    assert 8 * 4 * MIB < many - one < 8 * 24 * MIB, "a worker costs what is its own"
