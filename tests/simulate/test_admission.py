"""Admission: a prompt hardly disturbs who is being decoded, because it takes the slots of others."""

import pytest

from zipmoe.routing.routing import Routing
from zipmoe.scheduler.policy import lru
from zipmoe.simulate.admission import CHUNK, STEPS, admit
from zipmoe.simulate.cache import Cache
from zipmoe.simulate.shape import shape
from zipmoe.simulate.synthetic import synthetic

LIKE = shape("olmoe-1b-7b")
ROUTING = synthetic(LIKE, layers=3, requests=3, tokens=100, seed=4)
PROMPT = synthetic(LIKE, layers=3, requests=1, tokens=1000, seed=5)


@pytest.mark.parametrize("slots", [60, 100, 140])
def test_decoding_reads_little_more_while_a_long_prompt_is_admitted(slots: int) -> None:
    assert admit(ROUTING, PROMPT, slots, every=50).degradation <= 1.3


def test_a_prompt_of_nothing_new_disturbs_nobody() -> None:
    same = Routing(LIKE.experts, ROUTING.chosen[:CHUNK])
    found = admit(ROUTING, same, slots=3 * LIKE.experts, every=50)
    assert found.missed <= found.undisturbed


def test_prompts_must_not_overlap() -> None:
    with pytest.raises(AssertionError, match="one prompt is through"):
        admit(ROUTING, PROMPT, 100, every=STEPS)


def test_a_prefill_takes_its_own_slots_again_and_hardly_any_of_the_working_set() -> None:
    """Its experts come one after the other here, so one slot does."""
    cache = Cache(layers=1, experts=64, slots=20)
    for _ in range(5):
        cache.advance()
        cache.decode(0, range(20))
    assert cache.prefill(0, dict.fromkeys(range(20, 64), 1.0)) == 44
    cache.advance()
    assert cache.decode(0, range(20)) == 1


def test_unguarded_it_takes_whatever_is_worth_least() -> None:
    cache = Cache(layers=1, experts=64, slots=20, worth=lru, guarded=False)
    for _ in range(5):
        cache.advance()
        cache.decode(0, range(20))
    cache.prefill(0, dict.fromkeys(range(20, 64), 1.0))
    cache.advance()
    assert cache.decode(0, range(20)) > 0
