"""UseTable: counts every use, and a decode use weighs half after its half-lives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.arena.shapes import header
from zipmoe.arena.layout import Header
from zipmoe.arena.use import CLOCK, HABIT_HALF_LIFE, RECENT_HALF_LIFE, Use, UseTable
from zipmoe.arena.use_counter import UseCounter

HEADER = header(3)


def table(shape: Header = HEADER) -> UseCounter:
    return UseCounter(memoryview(bytearray(shape.size)), shape)


def steps(use: UseCounter, count: int) -> None:
    for _ in range(count):
        use.advance()


def test_a_use_counts_half_after_its_half_lives() -> None:
    use = table()
    use.decoded([3])
    steps(use, int(RECENT_HALF_LIFE))
    assert use.read(3).aged(use.step())[0] == pytest.approx(0.5)
    steps(use, int(HABIT_HALF_LIFE - RECENT_HALF_LIFE))
    assert use.read(3).aged(use.step())[1] == pytest.approx(0.5)


def test_a_use_adds_to_what_is_left() -> None:
    use = table()
    use.decoded([3])
    steps(use, int(RECENT_HALF_LIFE))
    use.decoded([3])
    found = use.read(3)
    assert (found.uses, found.step) == (2, RECENT_HALF_LIFE)
    assert found.recent == pytest.approx(1.5)
    assert found.habit == pytest.approx(1 + 2 ** (-RECENT_HALF_LIFE / HABIT_HALF_LIFE))


def test_a_prefill_counts_and_is_no_use_while_decoding() -> None:
    use = table()
    use.decoded([3])
    steps(use, 5)
    use.prefilled({3: 7.5})
    assert use.read(3) == Use(2, 0, 1.0, 1.0, 7.5)
    use.prefilled({3: 1.5})
    assert use.read(3).prompt == 1.5


def test_nothing_grows_for_a_clock_that_lags_behind() -> None:
    assert Use(1, 100, 0.5, 0.25).aged(99) == (0.5, 0.25)


together = st.sets(st.integers(0, HEADER.records - 1))


@given(st.lists(st.tuples(st.sampled_from(["advance", "decoded", "prefilled"]), together)))
def test_counts_and_the_clock_are_exact(acts: list[tuple[str, set[int]]]) -> None:
    use = table()
    for act, experts in acts:
        if act == "advance":
            use.advance()
        elif act == "decoded":
            use.decoded(experts)
        else:
            use.prefilled(dict.fromkeys(experts, 1.0))
    used = [expert for act, experts in acts if act != "advance" for expert in experts]
    assert use.total() == len(used)
    assert use.step() == sum(act == "advance" for act, _ in acts)
    assert [use.read(expert).uses for expert in range(HEADER.records)] == [
        used.count(expert) for expert in range(HEADER.records)
    ]


def test_a_clock_that_lags_behind_makes_nothing_heavier() -> None:
    use = table()
    steps(use, 9)
    use.decoded([3])
    lagging = table()
    lagging._memory[:] = use._memory
    CLOCK.pack_into(lagging._memory, HEADER.use_offset, 2, 1)
    lagging.decoded([3])
    assert lagging.read(3) == Use(2, 2, 2.0, 2.0)


def test_inference_writes_what_the_scheduler_reads() -> None:
    memory = memoryview(bytearray(HEADER.size))
    mine = memory[HEADER.use_offset : HEADER.use_offset + HEADER.use_bytes]
    inference, scheduler = UseCounter(mine, HEADER, start=HEADER.use_offset), UseTable(memory, HEADER)
    inference.advance()
    inference.decoded([HEADER.records - 1])
    assert scheduler.read(HEADER.records - 1) == Use(1, 1, 1.0, 1.0)
    assert (scheduler.step(), scheduler.total()) == (1, 1)
    assert not any(memory[: HEADER.use_offset])
    assert not any(memory[HEADER.slots_offset :])
