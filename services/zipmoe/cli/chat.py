"""zipmoe chat: a conversation, line by line. Ctrl-C stops an answer, Ctrl-D ends the conversation.

What was said goes to standard output, everything else to standard error, so that a conversation can be piped.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

from rich.console import Console

from zipmoe.cli.usage import print_usage
from zipmoe.cli.where import Where
from zipmoe.client import Message, SyncClient, Usage
from zipmoe.errors import InvalidRequest, ZipMoEError


def chat(system: str | None, options: dict[str, Any], where: Where) -> None:
    """Raises InvalidRequest if what is served has no chat template, ServiceRestarting if nothing is."""
    console = Console(stderr=True, highlight=False)
    with SyncClient(where.address, certificate=where.certificate, token=where.token) as client:
        model = client.model()
        if not model.chat:
            raise InvalidRequest(
                f"the {model.family} at {client.address} has no chat template: continue texts with `zipmoe generate`"
            )
        console.print(f"{model.family} · Ctrl-C stops an answer, Ctrl-D ends", style="dim")
        said: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        for line in _lines():
            said.append({"role": "user", "content": line})
            try:
                answer = _answer(client, said, options, console)
            except KeyboardInterrupt:
                answer = ""
            except ZipMoEError as error:
                if not sys.stdin.isatty():
                    raise
                console.print(f"zipmoe: {error}", style="red", markup=False)
                answer = ""
            if answer:
                said.append({"role": "assistant", "content": answer})
            else:
                # As if it had not been asked: roles alternate.
                said.pop()


def _lines() -> Iterator[str]:
    """What a person types, until Ctrl-D. Ctrl-C throws a line away."""
    with suppress(ImportError):
        # Arrows and history, for input().
        importlib.import_module("readline")
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt)
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            continue
        except EOFError:
            sys.stdout.write("\n" if prompt else "")
            return
        if line.strip():
            yield line


def _answer(client: SyncClient, said: list[Message], options: dict[str, Any], console: Console) -> str:
    """Prints an answer as it comes, and returns as much of it as came before Ctrl-C."""
    pieces: list[str] = []
    usage: Usage | None = None
    stopped = False
    with closing(client.generate(said, **options)) as answer:
        try:
            for piece in answer:
                pieces.append(piece.text)
                sys.stdout.write(piece.text)
                sys.stdout.flush()
                usage = piece.usage
        except KeyboardInterrupt:
            stopped = True
        finally:
            sys.stdout.write("\n")
            sys.stdout.flush()
    if stopped:
        console.print("stopped", style="dim")
    elif usage is not None:
        print_usage(console, usage)
    return "".join(pieces)
