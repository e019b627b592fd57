"""Text: tokens become characters as they come, and stop strings are looked for across their borders."""

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from zipmoe.pack.reader import Pack


def load_tokenizer(pack: Pack) -> Tokenizer:
    """Raises CorruptExpert if the pack has no tokenizer.json, or not the one it was packed with."""
    return Tokenizer.from_str(pack.small_file("tokenizer.json").decode())


class TextStream:
    """The text of one sequence. `stopped` once a stop string was met; nothing of it, or behind it, is let out."""

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self.stopped = False
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = stop
        self._held = ""

    def feed(self, token: int) -> str:
        """The text that has become certain with this token: none while a character or a stop string is incomplete."""
        if self.stopped:
            return ""
        self._held += self._stream.step(self._tokenizer, token) or ""
        ends = [at for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if ends:
            self.stopped = True
            text, self._held = self._held[: min(ends)], ""
            return text
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
