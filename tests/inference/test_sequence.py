"""Sequence: it ends with the end token, a stop string or its room, and says which."""

from pathlib import Path

import torch
from tokenizers import Tokenizer

from zipmoe.inference.experts import Counters
from zipmoe.inference.sampling import Sampling
from zipmoe.inference.sequence import Delta, Finish, Sequence
from zipmoe.inference.text import TextStream

TOKENIZER = Tokenizer.from_file(str(Path(__file__).parents[2] / "models" / "demo" / "tokenizer.json"))
HELLO = [int(token) for token in TOKENIZER.encode("hello world").ids]


def sequence(room: int = 99, *stop: str) -> Sequence:
    text = TextStream(TOKENIZER, stop)
    return Sequence([1, 2, 3], Sampling(), room, frozenset({0}), text, torch.Generator())


def test_the_end_token_ends_without_a_text_of_its_own() -> None:
    running = sequence()
    assert running.append(HELLO[0]) == Delta("h", (HELLO[0],))
    assert running.append(0) == Delta("", (0,), Finish.END)


def test_a_stop_string_ends_before_itself() -> None:
    running = sequence(99, "ello")
    deltas = [running.append(token) for token in HELLO[:3]]
    assert [delta.text for delta in deltas] == ["h", "", ""]
    assert [delta.finish for delta in deltas] == [None, None, Finish.STOP]


def test_the_room_ends_with_what_was_held_back() -> None:
    running = sequence(2, "elsewhere")
    assert [running.append(token) for token in HELLO[:2]] == [
        Delta("h", (HELLO[0],)),
        Delta("el", (HELLO[1],), Finish.LENGTH),
    ]


def test_usage_counts_and_its_times_are_in_order() -> None:
    running = sequence()
    running.started = running.arrived + 1.0
    running.append(HELLO[0])
    running.first = running.arrived + 3.0
    running.append(HELLO[1])
    usage = running.usage(Counters(8, 2, 1))
    assert (usage.prompt_tokens, usage.completion_tokens, usage.experts) == (3, 2, Counters(8, 2, 1))
    assert round(usage.queue_time, 6) == 1.0
    assert round(usage.time_to_first_token, 6) == 3.0
