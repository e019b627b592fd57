"""Residency: whatever happens, every slot is one of free, filling and resident, and an expert lies in one form."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zipmoe.arena.layout import PLANES, Part
from zipmoe.scheduler.residency import Residency

EXPERTS = 9
POOLS = st.fixed_dictionaries({part: st.integers(0, 5) for part in Part})


def residency(words: int = 0, sign_mantissas: int = 0, exponents: int = 0) -> Residency:
    return Residency(dict(zip(Part, (words, sign_mantissas, exponents), strict=True)))


class Steps(RuleBasedStateMachine):
    """A residency beside the plainest model of it: which parts of each expert are resident, and which on their way."""

    @initialize(pools=POOLS)
    def begin(self, pools: dict[Part, int]) -> None:
        self.pools = pools
        self.residency = Residency(pools)
        self.resident: dict[int, set[Part]] = {expert: set() for expert in range(EXPERTS)}
        self.filling: dict[int, set[Part]] = {}

    def used(self, part: Part) -> int:
        return sum(part in parts for parts in (*self.resident.values(), *self.filling.values()))

    def placeable(self) -> list[tuple[int, tuple[Part, ...]]]:
        """Loads of what is lacking, and moves of what is ready into its other form, that there is room for."""
        found = []
        for expert, parts in self.resident.items():
            if expert in self.filling:
                continue
            for wanted in ((Part.WORDS,), PLANES, *((plane,) for plane in PLANES)):
                completes = wanted in ((Part.WORDS,), PLANES) or parts == set(PLANES) - set(wanted)
                if completes and not parts & set(wanted) and all(self.used(part) < self.pools[part] for part in wanted):
                    found.append((expert, wanted))
        return found

    @precondition(lambda self: self.placeable())
    @rule(data=st.data())
    def place(self, data: st.DataObject) -> None:
        expert, parts = data.draw(st.sampled_from(self.placeable()))
        self.residency.place(expert, parts)
        self.filling[expert] = set(parts)

    @precondition(lambda self: self.filling)
    @rule(data=st.data())
    def filled(self, data: st.DataObject) -> None:
        expert = data.draw(st.sampled_from(sorted(self.filling)))
        self.residency.filled(expert)
        came = self.filling.pop(expert)
        self.resident[expert] = came if Part.WORDS in came else self.resident[expert] - {Part.WORDS} | came

    @precondition(lambda self: self.filling)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        expert = data.draw(st.sampled_from(sorted(self.filling)))
        self.residency.abandon(expert)
        del self.filling[expert]

    @precondition(lambda self: any(self.resident.values()))
    @rule(data=st.data(), part=st.sampled_from(Part))
    def fall(self, data: st.DataObject, part: Part) -> None:
        """The slot of the part is free afterwards; a plane stays only where there are more slots for it."""
        held = [expert for expert, parts in self.resident.items() if part in parts and expert not in self.filling]
        if held:
            expert = data.draw(st.sampled_from(held))
            self.residency.drop(expert, self.residency.falling(part))
            rest = {other for other in self.resident[expert] - {part} if self.pools[other] > self.pools[part]}
            self.resident[expert] = rest if part in PLANES else set()

    @rule()
    def restart(self) -> None:
        """What was on its way is gone; what was resident is found again where it was."""
        found = {expert: self.residency.parts(expert) for expert in range(EXPERTS)}
        self.residency = Residency(self.pools)
        assert all(self.residency.adopt(expert, parts) for expert, parts in found.items())
        self.filling = {}

    @invariant()
    def agrees(self) -> None:
        self.residency.check()
        for expert, parts in self.resident.items():
            assert self.residency.parts(expert).keys() == parts
            assert self.residency.ready(expert) == (Part.WORDS in parts or parts == set(PLANES))
        assert {expert: set(slots) for expert, slots in self.residency.filling.items()} == self.filling
        assert all(self.residency.free(part) == self.pools[part] - self.used(part) for part in Part)


Steps.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSteps = Steps.TestCase


def test_what_an_expert_lacks() -> None:
    of = residency(words=1, sign_mantissas=3, exponents=2)
    assert of.lacking(0) == (Part.WORDS,)
    of.place(0, (Part.WORDS,))
    assert of.lacking(1) == PLANES
    assert of.adopt(2, {Part.SIGN_MANTISSAS: 0})
    assert of.lacking(2) == (Part.EXPONENTS,)
    assert of.adopt(3, {Part.EXPONENTS: 0})
    assert of.lacking(3) == (Part.SIGN_MANTISSAS,)
    of.filled(0)
    assert of.lacking(0) == ()
    assert residency(words=2).lacking(0) == (Part.WORDS,)


def test_half_an_expert_is_completed_where_it_lies_even_if_there_is_room_for_all_of_it() -> None:
    of = residency(words=1, sign_mantissas=1, exponents=1)
    assert of.adopt(2, {Part.SIGN_MANTISSAS: 0})
    assert of.lacking(2) == (Part.EXPONENTS,)


@pytest.mark.parametrize(
    ("pools", "part", "falling"),
    [
        ((0, 4, 2), Part.EXPONENTS, (Part.EXPONENTS,)),
        ((0, 4, 2), Part.SIGN_MANTISSAS, tuple(Part)),
        ((0, 2, 4), Part.SIGN_MANTISSAS, (Part.SIGN_MANTISSAS,)),
        ((0, 2, 4), Part.EXPONENTS, tuple(Part)),
        ((0, 3, 3), Part.EXPONENTS, tuple(Part)),
        ((0, 3, 3), Part.SIGN_MANTISSAS, tuple(Part)),
        ((4, 3, 2), Part.WORDS, tuple(Part)),
    ],
)
def test_a_plane_stays_where_there_are_more_slots_for_it(
    pools: tuple[int, int, int], part: Part, falling: tuple[Part, ...]
) -> None:
    assert residency(*pools).falling(part) == falling


def test_adopting_rejects_slots_that_are_taken_or_are_none() -> None:
    of = residency(words=3, sign_mantissas=1)
    assert of.adopt(10, {Part.WORDS: 1})
    assert not any(of.adopt(expert, {Part.WORDS: slot}) for expert, slot in ((11, 1), (12, -1), (13, 3)))
    assert not of.adopt(14, {Part.SIGN_MANTISSAS: 0, Part.EXPONENTS: 0})
    assert of.adopt(14, {Part.WORDS: 2})
    assert of.resident(Part.WORDS) == {10: 1, 14: 2}
    of.check()


def test_the_audit_sees_a_slot_that_is_held_twice() -> None:
    of = residency(words=3)
    of.place(7, (Part.WORDS,))
    of._resident[Part.WORDS][8] = of.filling[7][Part.WORDS]
    with pytest.raises(AssertionError, match="slots lost or doubled: WORDS"):
        of.check()


def test_the_audit_sees_a_slot_that_was_lost() -> None:
    of = residency(exponents=3)
    of._free[Part.EXPONENTS].pop()
    with pytest.raises(AssertionError, match="slots lost or doubled: EXPONENTS"):
        of.check()


def test_the_audit_sees_an_expert_that_is_two() -> None:
    of = residency(words=3)
    of.place(7, (Part.WORDS,))
    of._resident[Part.WORDS][7] = of._free[Part.WORDS].pop()
    with pytest.raises(AssertionError, match="is being filled and resident"):
        of.check()


def test_the_audit_sees_an_expert_in_both_forms() -> None:
    of = residency(words=1, sign_mantissas=1)
    assert of.adopt(1, {Part.WORDS: 0, Part.SIGN_MANTISSAS: 0})
    with pytest.raises(AssertionError, match="in both forms"):
        of.check()
