"""Sequence: it ends with the end token, a stop string or its room, and says which."""

from pathlib import Path

import torch
from tokenizers import Tokenizer

from zipmoe.errors import ServiceRestarting
from zipmoe.inference.sampling import Sampled, Sampling
from zipmoe.inference.sequence import Delta, Finish, Sequence
from zipmoe.inference.tally import Counters
from zipmoe.inference.text import TextStream

TOKENIZER = Tokenizer.from_file(str(Path(__file__).parents[2] / "models" / "demo" / "tokenizer.json"))
HELLO = [int(token) for token in TOKENIZER.encode("hello world").ids]


def sequence(room: int = 99, *stop: str) -> Sequence:
    text = TextStream(TOKENIZER, stop)
    return Sequence([1, 2, 3], Sampling(), room, frozenset({0}), text, torch.Generator())


def append(running: Sequence, token: int) -> tuple[str, Finish | None]:
    """What the token adds, and whether it was the last: then it says what it took."""
    delta = running.append(Sampled(token))
    assert delta.tokens == (Sampled(token),)
    assert (delta.usage is None) == (delta.finish is None)
    return delta.text, delta.finish


def test_the_end_token_ends_without_a_text_of_its_own() -> None:
    running = sequence()
    assert append(running, HELLO[0]) == ("h", None)
    assert append(running, 0) == ("", Finish.END)


def test_a_stop_string_ends_before_itself() -> None:
    running = sequence(99, "ello")
    assert [append(running, token) for token in HELLO[:3]] == [("h", None), ("", None), ("", Finish.STOP)]


def test_the_room_ends_with_what_was_held_back() -> None:
    running = sequence(2, "elsewhere")
    assert [append(running, token) for token in HELLO[:2]] == [("h", None), ("el", Finish.LENGTH)]


def test_usage_counts_and_its_times_are_in_order() -> None:
    running = sequence(2)
    running.started = running.arrived + 1.0
    running.counters += Counters(8, 2, 50, 1)
    running.append(Sampled(HELLO[0]))
    running.first = running.arrived + 3.0
    usage = running.append(Sampled(HELLO[1])).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.experts) == (3, 2, Counters(8, 2, 50, 1))
    assert round(usage.queue_time, 6) == 1.0
    assert round(usage.time_to_first_token, 6) == 3.0


def test_it_is_over_when_it_has_been_told_all() -> None:
    running, failing = sequence(2), sequence()
    running.tell(Sampled(HELLO[0]))
    assert not running.over
    running.tell(Sampled(HELLO[1]))
    failing.fail(ServiceRestarting("gone"))
    assert running.over
    assert failing.over
    assert [type(running.told.get_nowait()) for _ in range(2)] == [Delta, Delta]
    assert isinstance(failing.told.get_nowait(), ServiceRestarting)
