"""Pages: nobody's page is given away, what is full is shared, and what rests is taken last, the oldest first."""

import random

from hypothesis import given
from hypothesis import strategies as st

from zipmoe.inference.model.kv_cache import PAGE
from zipmoe.inference.pages import Pages, names


def text(pages: int, salt: int = 0) -> list[int]:
    return [salt + token for token in range(pages * PAGE)]


def filled(pages: Pages, tokens: list[int]) -> list[int]:
    """As a sequence does that has computed a text."""
    taken = pages.take(len(tokens) // PAGE)
    for page, name in zip(taken, names(tokens), strict=True):
        pages.name(page, name)
    return taken


def test_a_name_is_of_all_that_came_before() -> None:
    one, other = list(names(text(3))), list(names(text(1, salt=7) + text(3)[PAGE:]))
    assert len(one) == 3
    assert not set(one) & set(other)
    assert list(names(text(3)[PAGE:], one[0])) == one[1:]
    assert list(names(text(1)[:-1])) == []


def test_what_begins_alike_is_shared_as_far_as_it_is_alike() -> None:
    pages = Pages(8)
    first = filled(pages, text(3))
    assert pages.share(names(text(2) + text(1, salt=9))) == first[:2]
    assert pages.used == 3
    pages.release(first)
    assert pages.used == 2
    pages.release(first[:2])
    assert pages.used == 0
    assert pages.share(names(text(3))) == first


def test_resting_pages_are_taken_last_and_the_oldest_first_and_ends_before_beginnings() -> None:
    pages = Pages(6)
    old, new = filled(pages, text(2)), filled(pages, text(2, salt=5))
    pages.release(old)
    pages.release(new)
    assert set(pages.take(2)).isdisjoint([*old, *new])
    assert pages.take(1) == [old[1]]
    assert pages.share(names(text(2))) == [old[0]]
    assert pages.share(names(text(2, salt=5))) == new


def test_the_same_text_computed_twice_is_kept_once() -> None:
    pages = Pages(4)
    one, other = filled(pages, text(2)), filled(pages, text(2))
    pages.release(one)
    pages.release(other)
    assert pages.free == 4
    assert pages.share(names(text(2))) == one


@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_nobodys_page_is_given_away(chance: random.Random, count: int) -> None:
    pages, held, texts = Pages(count), list[tuple[list[int], int]](), [text(3, salt) for salt in range(4)]
    for _ in range(60):
        if held and chance.random() < 0.4:
            mine, _ = held.pop(chance.randrange(len(held)))
            pages.release(mine)
        else:
            salt = chance.randrange(4)
            shared = pages.share(names(texts[salt]))
            wanted = min(3 - len(shared), pages.free)
            taken = pages.take(wanted)
            written = {page for mine, its in held for page in mine}
            assert not written & set(taken), "a page that somebody holds is written to"
            assert not set(shared) & set(taken)
            mine = shared + taken
            for page, name in zip(mine, names(texts[salt]), strict=False):
                pages.name(page, name)
            held.append((mine, salt))
        # Who shares a page has the same text there.
        whose: dict[int, set[tuple[int, int]]] = {}
        for mine, its in held:
            for place, page in enumerate(mine):
                whose.setdefault(page, set()).add((its, place))
        assert all(len(of) == 1 for of in whose.values())
        assert pages.used == len(whose)
        assert 0 <= pages.free <= count
    for mine, _ in held:
        pages.release(mine)
    assert pages.used == 0
