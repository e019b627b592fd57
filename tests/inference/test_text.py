"""Text: streamed pieces are the decoded whole, characters are never halved, nothing of a stop string gets out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from zipmoe.inference.text import TextStream

TOKENIZER = Tokenizer.from_file(str(Path(__file__).parents[2] / "models" / "demo" / "tokenizer.json"))
END = 0


def tokens(text: str) -> list[int]:
    return list(TOKENIZER.encode(text).ids)


def pieces(text: str, *stop: str) -> tuple[list[str], TextStream]:
    stream = TextStream(TOKENIZER, stop)
    return [stream.feed(token) for token in tokens(text)], stream


def test_a_character_of_several_tokens_comes_whole() -> None:
    text = "ö漢🙂"
    assert len(tokens(text)) > 3
    fed, stream = pieces(text)
    assert [piece for piece in fed if piece] == ["ö", "漢", "🙂"]
    assert stream.finish() == ""


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffd"), max_size=40))
def test_pieces_are_the_whole(text: str) -> None:
    fed, stream = pieces(text)
    assert "".join(fed) + stream.finish() == TOKENIZER.decode(tokens(text))
    assert not stream.stopped


def test_special_tokens_are_no_text() -> None:
    stream = TextStream(TOKENIZER, ())
    assert [stream.feed(token) for token in (*tokens("a"), END)] == ["a", ""]


@pytest.mark.parametrize("stop", ["world", "lo wor", "hello world stop", "h", " stop here", "here"])
def test_a_stop_string_across_tokens_ends_the_text_before_it(stop: str) -> None:
    fed, stream = pieces("hello world stop here", stop)
    assert "".join(fed).startswith("hello world stop here"[: "hello world stop here".index(stop)])
    first = TextStream(TOKENIZER, (stop,))
    said = ""
    for token in tokens("hello world stop here"):
        said += first.feed(token)
        if first.stopped:
            break
    assert first.stopped
    assert said == "hello world stop here"[: "hello world stop here".index(stop)]
    assert first.finish() == ""
    assert stream.stopped


@pytest.mark.parametrize("stop", [("l", "el"), ("el", "l"), ("ello", "el"), ("el", "ello")])
def test_of_several_stop_strings_the_earliest_wins(stop: tuple[str, ...]) -> None:
    stream, said = TextStream(TOKENIZER, stop), ""
    for token in tokens("hello"):
        if not stream.stopped:
            said += stream.feed(token)
    assert stream.stopped
    assert said == "h"


def test_the_beginning_of_a_stop_string_is_held_back_until_it_is_none() -> None:
    stream = TextStream(TOKENIZER, ("stopped",))
    said = [stream.feed(token) for token in tokens("hello world stop here")]
    at = TOKENIZER.encode("hello world stop here").tokens.index("Ġstop")
    assert said[at] == " "
    assert said[at + 1] == "stop here"
    assert not stream.stopped


def test_what_is_held_back_at_the_end_is_let_out() -> None:
    fed, stream = pieces("hello world stop", "stopped")
    assert "".join(fed) == "hello world "
    assert stream.finish() == "stop"
    assert stream.finish() == ""


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=5), max_size=3))
def test_a_stream_says_what_lies_before_the_earliest_stop_string(text: str, stop: list[str]) -> None:
    stream, said = TextStream(TOKENIZER, tuple(stop)), ""
    for token in tokens(text):
        said += stream.feed(token)
        assert text.startswith(said)
        if stream.stopped:
            break
    said += stream.finish()
    assert stream.stopped == any(one in text for one in stop)
    assert not any(one in said for one in stop)
    if not stream.stopped:
        assert said == text
