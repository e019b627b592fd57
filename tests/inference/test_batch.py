"""Batch: steps are fair, pages suffice or somebody gives back, and everything comes back in the end."""

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from zipmoe.errors import CacheExhausted
from zipmoe.inference.batch import CHUNK, MOST_WAITING, Batch, Part, shares
from zipmoe.inference.model.kv_cache import PAGE, pages_for
from zipmoe.inference.pages import Pages
from zipmoe.inference.sampling import Sampled, Sampling
from zipmoe.inference.sequence import Sequence
from zipmoe.inference.text import TextStream

TOKENIZER = Tokenizer.from_file(str(Path(__file__).parents[2] / "models" / "demo" / "tokenizer.json"))


def sequence(prompt: int, room: int = 1000, salt: int = 0) -> Sequence:
    tokens = [salt + place for place in range(prompt)]
    return Sequence(tokens, Sampling(), room, frozenset(), TextStream(TOKENIZER, ()), torch.Generator())


def run(batch: Batch, parts: list[Part]) -> None:
    """As the engine does: computes them, and each that was computed to its end writes a token."""
    batch.advance(parts)
    for part in parts:
        if part.span.last and not part.sequence.over:
            part.sequence.tell(Sampled(7))


def sizes(parts: list[Part]) -> list[int]:
    return [len(part.span.tokens) for part in parts]


def test_a_prompt_goes_in_pieces_beside_those_who_write() -> None:
    batch = Batch(Pages(100), most=4, divides=True)
    writer = sequence(3)
    batch.add(writer)
    run(batch, batch.step())
    batch.add(sequence(600, salt=1000))
    seen = []
    for _ in range(4):
        parts = batch.step()
        seen.append(sizes(parts))
        assert [part.decoding for part in parts] == [True, len(seen) == 4]
        assert [part.span.last for part in parts] == [1, int(len(seen) > 2)]
        run(batch, parts)
    assert seen == [[1, CHUNK], [1, CHUNK], [1, 600 - 2 * CHUNK], [1, 1]]


def test_where_nothing_is_divided_a_prompt_goes_whole() -> None:
    batch = Batch(Pages(100), most=4, divides=False)
    batch.add(sequence(600))
    assert sizes(batch.step()) == [600]


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ({}, {}),
        ({1: 100}, {1: 100}),
        ({1: 1000}, {1: 256}),
        # The oldest has half, and the shortest goes first with the rest.
        ({1: 1000, 2: 500, 3: 20}, {1: 128, 2: 108, 3: 20}),
        ({1: 1000, 2: 20, 3: 30}, {1: 206, 2: 20, 3: 30}),
        ({1: 20, 2: 1000}, {1: 20, 2: 236}),
    ],
)
def test_a_long_prompt_neither_waits_nor_keeps_others_waiting(
    missing: dict[int, int], expected: dict[int, int]
) -> None:
    assert shares(missing, 256) == expected


def test_equal_beginnings_are_computed_once() -> None:
    batch = Batch(Pages(100), most=4, divides=True)
    first, second = sequence(70), sequence(70)
    batch.add(first)
    run(batch, batch.step())
    batch.add(second)
    parts = batch.step()
    assert sizes(parts) == [1, 70 - 4 * PAGE]
    assert parts[1].span.start == second.reused == 4 * PAGE
    assert second.pages[:4] == first.pages[:4]
    assert second.pages[4:] != first.pages[4:]


def test_a_prompt_that_is_all_known_computes_its_last_token() -> None:
    batch = Batch(Pages(100), most=4, divides=True)
    batch.add(sequence(4 * PAGE))
    run(batch, batch.step())
    batch.add(sequence(4 * PAGE))
    assert sizes(batch.step()) == [1, PAGE]


def test_prompts_on_two_sides_of_the_border_share_nothing() -> None:
    """Though they begin alike; those on one side do."""
    batch = Batch(Pages(100), most=4, divides=True, border=50)
    reused = []
    for prompt in (50, 51, 40, 60):
        batch.add(some := sequence(prompt, room=1))
        while not some.over:
            parts = batch.step()
            assert [part.span.whole for part in parts] == [prompt]
            run(batch, parts)
        reused.append(some.reused)
    assert reused == [0, 0, 2 * PAGE, 3 * PAGE]


def test_a_long_prompt_takes_nothing_from_a_text_that_grew_as_long() -> None:
    """Its keys are those of a short prompt, and of what was written behind it."""
    batch = Batch(Pages(100), most=4, divides=True, border=50)
    batch.add(grown := sequence(40, room=30))
    while not grown.over:
        run(batch, batch.step())
    longer, again = sequence(70), sequence(40)
    longer.tokens[:] = grown.tokens
    batch.add(longer)
    batch.add(again)
    batch.step()
    assert (longer.reused, again.reused) == (0, 2 * PAGE)


def test_who_came_last_gives_its_pages_back_and_loses_nothing() -> None:
    batch = Batch(Pages(6), most=4, divides=True)
    old, new = sequence(2 * PAGE, room=40), sequence(2 * PAGE, room=40, salt=500)
    batch.add(old)
    batch.add(new)
    gave_back = 0
    for _ in range(200):
        parts = batch.step()
        gave_back += new in batch.waiting
        if not parts:
            break
        run(batch, parts)
    assert gave_back
    assert (old.written, new.written) == (40, 40)
    assert batch.pages.used == 0


def test_too_many_are_refused_and_told_when_to_ask_again() -> None:
    batch = Batch(Pages(10), most=1, divides=True)
    for _ in range(MOST_WAITING):
        batch.add(sequence(5))
    with pytest.raises(CacheExhausted, match=f"{MOST_WAITING} requests wait") as refused:
        batch.add(sequence(5))
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 60


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.booleans(), st.integers(4, 30))
def test_everybody_is_served_and_everything_comes_back(chance: random.Random, divides: bool, count: int) -> None:
    """Whoever joins, leaves and writes how much: a step's parts have their pages, no page is two writers', and who
    stays gets all that it has room for."""
    pages = Pages(count)
    batch, everybody = Batch(pages, most=chance.randint(1, 5), divides=divides), list[Sequence]()
    for _ in range(12):
        prompt = chance.randint(1, count * PAGE)
        room = min(chance.randint(1, 40), count * PAGE - prompt + 1)
        everybody.append(sequence(prompt, room, salt=1000 * chance.randint(0, 2)))
        if chance.random() < 0.2:
            everybody[-1].over = True
        batch.add(everybody[-1])
        for _ in range(chance.randint(0, 30)):
            step(batch, chance)
    for _ in range(20_000):
        if not step(batch, chance, leave=0.0):
            break
    assert not batch.running
    assert not batch.waiting
    assert pages.used == 0
    assert all(each.over for each in everybody)


def step(batch: Batch, chance: random.Random, leave: float = 0.02) -> bool:
    parts = batch.step()
    written = list[int]()
    for part in parts:
        span = part.span
        assert len(span.tokens) > 0
        assert len(span.pages) >= pages_for(span.end)
        assert part.sequence.tokens[span.start : span.end] == span.tokens.tolist()
        written += {int(span.pages[token // PAGE]) for token in range(span.start, span.end)}
    assert len(set(written)) == len(written), "two write to one page"
    run(batch, parts)
    for part in parts:
        if chance.random() < leave:
            part.sequence.over = True
    return bool(parts)
