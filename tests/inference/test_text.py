"""Text: streamed pieces are the decoded whole, characters are never halved, nothing of a stop string gets out."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE

from zipmoe.inference.text import TextStream, end_tokens
from zipmoe.pack.reader import Pack

TOKENIZER = Tokenizer.from_file(str(Path(__file__).parents[2] / "models" / "demo" / "tokenizer.json"))
END = 0
SIZE = TOKENIZER.get_vocab_size()


def with_bytes_as_a_way_out() -> Tokenizer:
    """As Llama's and Mixtral's: words begin with a low line, what is no word is bytes."""
    words = ["<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "▁ab", "ä", "▁▁"]
    tokenizer = Tokenizer(BPE({word: number for number, word in enumerate(words)}, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<s>"])
    return tokenizer


def bytes_of(tokenizer: Tokenizer) -> list[int]:
    """The token of each byte: those that print are letters themselves, the others are letters from 256 on."""
    printing = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printing]
    letters = [byte if byte in printing else 256 + others.index(byte) for byte in range(256)]
    return [tokenizer.get_vocab()[chr(letter)] for letter in letters]


BYTES = bytes_of(TOKENIZER)
FALLBACK = with_bytes_as_a_way_out()


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


def said(tokenizer: Tokenizer, fed: list[int], *stop: str) -> tuple[str, TextStream]:
    """All that a stream says of tokens, until it has stopped."""
    stream, text = TextStream(tokenizer, stop), ""
    for token in fed:
        text += stream.feed(token)
        if stream.stopped:
            break
    return text + stream.finish(), stream


def one_byte_tokens(text: bytes) -> list[int]:
    """Tokens of a byte each, by the letter that byte-level BPE writes it with."""
    return [BYTES[byte] for byte in text]


@pytest.mark.parametrize(
    "text",
    [
        "🙂".encode(),
        "👩‍👩‍👧‍👦 漢字かな".encode(),
        "🙂".encode()[:3],
        b"a\xff",
        b"a\xffb",
        b"\x80\x80\x80\xf0\x9f\x99\x82",
        b"\xe6\xbc\xe6\xbc\xa2",
        b"\xf0\x9f\xf0\x9f\x99",
        b"\xed\xa0\x80x",
        "\ufffd".encode(),
        "a\ufffdb\ufffd".encode(),
        b"\xff" * 30,
    ],
)
def test_bytes_one_by_one_are_the_whole(text: bytes) -> None:
    fed = one_byte_tokens(text)
    assert TOKENIZER.decode(fed) == text.decode(errors="replace")
    assert said(TOKENIZER, fed)[0] == text.decode(errors="replace")


def test_a_half_character_comes_out_at_the_end_alone() -> None:
    stream = TextStream(TOKENIZER, ())
    assert [stream.feed(token) for token in one_byte_tokens("a🙂".encode()[:4])] == ["a", "", "", ""]
    assert stream.finish() == "\ufffd"
    assert stream.finish() == ""


@given(st.lists(st.integers(0, SIZE + 9), max_size=40))
def test_whatever_is_sampled_is_the_decoded_whole(fed: list[int]) -> None:
    """Special tokens, halves of characters, and tokens that a model has and its tokenizer has not."""
    assert said(TOKENIZER, fed)[0] == TOKENIZER.decode(fed)


@given(st.lists(st.binary(max_size=6) | st.text(max_size=3).map(str.encode), max_size=12))
def test_whatever_bytes_are_sampled_are_the_decoded_whole(parts: list[bytes]) -> None:
    fed = one_byte_tokens(b"".join(parts))
    assert said(TOKENIZER, fed)[0] == TOKENIZER.decode(fed)


@given(st.lists(st.text(st.sampled_from(" ab🙂漢ä"), max_size=6), max_size=8))
def test_bytes_as_a_way_out_are_the_whole(parts: list[str]) -> None:
    vocabulary = FALLBACK.get_vocab()
    fed = [
        token
        for part in parts
        for letter in part.replace(" ", "▁")
        for token in (
            [vocabulary[letter]]
            if letter in vocabulary
            else [vocabulary[f"<0x{byte:02X}>"] for byte in letter.encode()]
        )
    ]
    assert said(FALLBACK, fed)[0] == FALLBACK.decode(fed)


@given(st.lists(st.integers(0, FALLBACK.get_vocab_size()), max_size=30))
def test_bytes_as_a_way_out_may_be_anything(fed: list[int]) -> None:
    """A wrong byte spoils, in the whole, all bytes before it; a stream has said them by then, and goes on."""
    text = said(FALLBACK, fed)[0]
    whole = FALLBACK.decode(fed)
    assert "\ufffd" in whole or text == whole


@given(
    st.lists(st.integers(0, SIZE - 1), max_size=25),
    st.lists(st.text(st.sampled_from("abe \n(\ufffd"), min_size=1, max_size=3), max_size=3),
)
def test_a_stream_ends_before_the_first_stop_string_that_is_complete(fed: list[int], stop: list[str]) -> None:
    whole = TOKENIZER.decode(fed)
    complete = [(whole.index(each) + len(each), whole.index(each)) for each in stop if each in whole]
    text, stream = said(TOKENIZER, fed, *stop)
    assert stream.stopped == bool(complete)
    assert text == (whole[: min(complete)[1]] if complete else whole)


def test_how_text_is_cut_into_tokens_does_not_choose_the_stop_string() -> None:
    whole = max((TOKENIZER.decode([token]) for token in range(SIZE) if token != END), key=len)
    (token,) = TOKENIZER.encode(whole).ids
    assert len(whole) > 4
    stop = (whole, whole[2:4])
    assert said(TOKENIZER, [token], *stop)[0] == said(TOKENIZER, one_byte_tokens(whole.encode()), *stop)[0] == whole[:2]


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ({"eos_token_id": 2}, None, {2}),
        ({"eos_token_id": [2, 3]}, b'{"eos_token_id": [3, 4]}', {2, 3, 4}),
        ({"eos_token_id": None}, b'{"eos_token_id": 0}', {0}),
        ({}, b"{}", set()),
    ],
)
def test_end_tokens_are_those_of_both_files(
    config: dict[str, object], generation: bytes | None, expected: set[int]
) -> None:
    files = {"generation_config.json": generation}
    pack = cast(Pack, SimpleNamespace(config=config, small_file_if_any=files.get))
    assert end_tokens(pack) == expected
