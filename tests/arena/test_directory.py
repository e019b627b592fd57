"""Directory: an expert that is published is found where it lies; one that is withdrawn is not found at all."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.arena.shapes import header
from zipmoe.arena.directory import _STATE, Directory, Record, State
from zipmoe.arena.layout import PAGE, RECORD_BYTES, Part

HEADER = header(3)
WORDS = {Part.WORDS: HEADER.slots_offset}


def directory() -> tuple[bytearray, Directory]:
    memory = bytearray(HEADER.size)
    return memory, Directory(memoryview(memory), HEADER)


@pytest.mark.parametrize(
    ("parts", "state"),
    [
        ({Part.WORDS: 4096}, State.FULL),
        ({Part.SIGN_MANTISSAS: 4096, Part.EXPONENTS: 8192}, State.COMPRESSED),
        ({Part.SIGN_MANTISSAS: 4096}, State.SIGN_MANTISSAS),
        ({Part.EXPONENTS: 8192}, State.EXPONENTS),
        ({}, State.ABSENT),
    ],
)
def test_a_published_expert_is_what_its_parts_make_it(parts: dict[Part, int], state: State) -> None:
    _, records = directory()
    records.publish(5, parts)
    assert records.read(5) == Record(state, 1, *(parts.get(part, 0) for part in Part))
    ready = state in (State.FULL, State.COMPRESSED)
    assert [records.ready(expert) for expert in range(HEADER.records)] == [
        ready and expert == 5 for expert in range(HEADER.records)
    ]
    assert records.generation(5) == (1 if ready else 0)


def test_a_withdrawn_expert_is_absent() -> None:
    _, records = directory()
    records.publish(5, WORDS)
    records.withdraw(5)
    assert records.read(5).state is State.ABSENT
    assert not records.ready(5)


def test_the_generation_counts_publications() -> None:
    _, records = directory()
    for count in range(1, 4):
        records.publish(2, {Part.WORDS: HEADER.slots_offset + count * PAGE})
        assert records.generation(2) == count
        records.withdraw(2)


def test_a_writer_killed_before_the_state_is_written_leaves_an_absent_expert() -> None:
    memory, records = directory()
    records.publish(5, WORDS)
    records.withdraw(5)
    place = HEADER.directory_offset + 5 * RECORD_BYTES
    records.publish(5, {Part.WORDS: HEADER.slots_offset + HEADER.slot_bytes})
    memory[place : place + _STATE.size] = bytes(_STATE.size)
    assert not records.ready(5)
    assert records.read(5).state is State.ABSENT


@given(st.data())
def test_records_touch_nothing_else_in_the_arena(data: st.DataObject) -> None:
    layers, experts = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 70))
    shape = header(1, layers=layers, experts=experts, weights=64)
    memory = bytearray(shape.size)
    records = Directory(memoryview(memory), shape)
    for expert in range(shape.records):
        records.publish(expert, dict.fromkeys(Part, shape.slots_offset))
    end = shape.directory_offset + shape.records * RECORD_BYTES
    assert not any(memory[: shape.directory_offset])
    assert not any(memory[end:])
    assert all(records.ready(expert) for expert in range(shape.records))


def test_the_schedulers_part_of_the_arena_is_the_same_records() -> None:
    memory, reader = directory()
    mine = memoryview(memory)[PAGE : HEADER.use_offset]
    Directory(mine, replace(HEADER), start=PAGE).publish(7, WORDS)
    assert reader.read(7).words == HEADER.slots_offset
