"""Conversations, through the real services: by the client, by `zipmoe chat`, by the examples."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.modules import REPOSITORY
from tests.system.stack import Stack
from zipmoe.client import Client, Completion, Prompt
from zipmoe.errors import InvalidRequest

COMMAND = str(Path(sys.executable).with_name("zipmoe"))
SAID = [
    {"role": "system", "content": "Be brief. 🙂"},
    {"role": "user", "content": "Read a file."},
    {"role": "assistant", "content": "open(path)"},
    {"role": "user", "content": "And then?"},
]
RENDERED = "# system: Be brief. 🙂\n# user: Read a file.\n# assistant: open(path)\n# user: And then?\n# assistant:"


@pytest.fixture(scope="module")
def stack(chat_pack: Path) -> Iterator[Stack]:
    with Stack(chat_pack, arena_size="30%") as stack:
        yield stack.start()


async def complete(stack: Stack, prompt: Prompt) -> list[Completion]:
    async with Client(stack.places.inference) as client:
        return [piece async for piece in client.generate(prompt, max_tokens=12)]


def hears_ctrl_c() -> None:
    """As at a terminal: what a script has started in the background does not hear it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def chatting(stack: Stack, *options: str) -> "subprocess.Popen[str]":
    command = [COMMAND, "chat", "--run", str(stack.places.run), *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, preexec_fn=hears_ctrl_c)


async def test_a_conversation_is_answered_as_its_rendered_text_is_continued(stack: Stack) -> None:
    answer, continued = await complete(stack, SAID), await complete(stack, RENDERED)
    assert [piece.tokens for piece in answer] == [piece.tokens for piece in continued]
    usages = answer[-1].usage, continued[-1].usage
    assert usages[0] is not None
    assert usages[1] is not None
    assert usages[0].prompt_tokens == usages[1].prompt_tokens


async def test_a_model_with_a_template_says_so(stack: Stack) -> None:
    async with Client(stack.places.inference) as client:
        assert (await client.model()).chat


async def test_what_the_template_refuses_is_an_invalid_request_in_its_words(stack: Stack) -> None:
    with pytest.raises(InvalidRequest, match="nobody is a tool"):
        await complete(stack, [{"role": "tool", "content": "7"}])


def test_the_command_answers_line_by_line(stack: Stack) -> None:
    talk = chatting(stack, "--max-tokens", "8", "--temperature", "0", "--system", "Be brief.")
    answers, rest = talk.communicate("Read a file.\n\nAnd then?\n", timeout=120)
    assert talk.returncode == 0
    assert answers.strip()
    assert len(re.findall(r"8 tokens at [\d.]+/s · first after \d+ ms .* \d+% of expert uses were hits", rest)) == 2
    # The second question came behind the first and its answer.
    first, second = [int(tokens) for tokens in re.findall(r"prompt of (\d+)", rest)]
    assert second > first + 8


def test_ctrl_c_stops_an_answer_and_not_the_command(stack: Stack) -> None:
    talk = chatting(stack, "--max-tokens", "64")
    assert talk.stdin is not None
    assert talk.stdout is not None
    assert talk.stderr is not None
    talk.stdin.write("Write a long module.\n")
    talk.stdin.flush()
    assert talk.stdout.read(1)
    talk.send_signal(signal.SIGINT)
    assert any(line.strip() == "stopped" for line in talk.stderr)
    _, rest = talk.communicate("And then?\n", timeout=120)
    assert talk.returncode == 0
    assert "of expert uses were hits" in rest


def test_an_error_ends_what_is_piped(stack: Stack) -> None:
    talk = chatting(stack, "--top-p", "2")
    _, rest = talk.communicate("Read a file.\n", timeout=120)
    assert talk.returncode == 1
    assert "zipmoe: top_p is 2.0" in rest


@pytest.mark.parametrize("name", ["app", "app_sync", "chat"])
def test_an_example_runs(stack: Stack, name: str) -> None:
    file = REPOSITORY / "examples" / f"{name}.py"
    environment = {**os.environ, "ZIPMOE_ADDRESS": stack.places.inference}
    shown = subprocess.run([sys.executable, file], env=environment, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert shown.stdout.strip()
    assert "no more:" not in shown.stdout


def test_at_a_terminal_ctrl_c_throws_a_line_away_and_ctrl_d_ends(stack: Stack) -> None:
    ours, theirs = pty.openpty()
    command = [COMMAND, "chat", "--run", str(stack.places.run), "--max-tokens", "8"]
    talk = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=hears_ctrl_c)
    os.close(theirs)

    shown = b""

    def until(word: bytes) -> None:
        nonlocal shown
        while word not in shown:
            shown += os.read(ours, 1024)
        _, _, shown = shown.partition(word)

    try:
        until(b"> ")
        # Python may not look for a signal that came just before it began to wait for a key.
        while not shown:
            talk.send_signal(signal.SIGINT)
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 1024)
        until(b"> ")
        os.write(ours, b"And then?\n")
        until(b"hits")
        until(b"> ")
        os.write(ours, b"\x04")
        assert talk.wait(60) == 0
    finally:
        talk.kill()
        talk.wait()
        os.close(ours)
