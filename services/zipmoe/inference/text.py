"""Text: tokens become characters as they come, and stop strings are looked for across their borders."""

import json
from typing import Any

from tokenizers import Tokenizer

from zipmoe.pack.reader import Pack

# What bytes decode to that are no character, or none yet.
_NO_CHARACTER = "\ufffd"


def load_tokenizer(pack: Pack) -> Tokenizer:
    """Raises CorruptExpert if the pack has no tokenizer.json, or not the one it was packed with."""
    return Tokenizer.from_str(pack.small_file("tokenizer.json").decode())


def end_tokens(pack: Pack) -> frozenset[int]:
    """Those of config.json and generation_config.json: chat models end their answers with the latter's alone."""
    generation: dict[str, Any] = json.loads(pack.small_file_if_any("generation_config.json") or b"{}")
    return _named(pack.config.get("eos_token_id")) | _named(generation.get("eos_token_id"))


def _named(tokens: list[int] | int | None) -> frozenset[int]:
    """A checkpoint names one end token, several, or none."""
    return frozenset(tokens if isinstance(tokens, list) else [] if tokens is None else [tokens])


class TextStream:
    """The text of one sequence. `stopped` once a stop string was met; nothing of it, or behind it, is let out.

    All pieces together are what the tokenizer decodes all tokens to, where they are decoded byte by byte. Where whole
    runs of bytes are none, which only a vocabulary with single bytes as a way out can have, characters before the
    wrong byte have been let out and stay.
    """

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self.stopped = False
        self._stop = stop
        self._characters = _Characters(tokenizer)
        self._held = ""

    def feed(self, token: int) -> str:
        """The text that has become certain with this token: none while a character or a stop string is incomplete."""
        return "" if self.stopped else self._until_stop(self._characters.feed(token))

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        if self.stopped:
            return ""
        text, self._held = self._until_stop(self._characters.finish()) + self._held, ""
        return text

    def _until_stop(self, text: str) -> str:
        self._held += text
        # The first to be complete, however the text was cut into tokens; of two, the longer.
        met = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if met:
            self.stopped = True
            _, at = min(met)
            text, self._held = self._held[:at], ""
            return text
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text


class _Characters:
    """Tokens that are not text yet, behind those of the last piece: a tokenizer decodes by what stands before."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        # How many of them are the last piece's, and how much of the others' text is out.
        self._context = 0
        self._out = 0

    def feed(self, token: int) -> str:
        self._tokens.append(token)
        text = self._pending()
        certain = text.rstrip(_NO_CHARACTER)
        piece = certain[self._out :]
        if len(certain) < len(text):
            self._out += len(piece)
        elif piece:
            self._tokens = self._tokens[self._context :]
            self._context, self._out = len(self._tokens), 0
        return piece

    def finish(self) -> str:
        text = self._pending()[self._out :]
        self._out += len(text)
        return text

    def _pending(self) -> str:
        before, text = self._decoded(self._tokens[: self._context]), self._decoded(self._tokens)
        # Bytes that are none may spoil the decoding of those before them.
        return text[len(before) :] if text.startswith(before) else self._decoded(self._tokens[self._context :])

    def _decoded(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
