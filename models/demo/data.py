"""The corpus of the demo model: the source of Python's own standard library.

Every machine with Python has it, it needs no download, and nobody has to guess what the model has read. Some
well-known modules are held out *by name* (``HELD_OUT``), with their test files; what is left is searched for
copies of them (``runs_of_lines``), and files that share more than a trace of text are dropped as well.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"

# The exam: never read in training, neither the files themselves nor the tests written for them.
HELD_OUT = (
    "argparse.py",
    "calendar.py",
    "configparser.py",
    "csv.py",
    "fractions.py",
    "heapq.py",
    "json/__init__.py",
    "json/decoder.py",
    "json/encoder.py",
    "json/scanner.py",
    "json/tool.py",
    "queue.py",
    "sched.py",
    "shutil.py",
    "statistics.py",
    "textwrap.py",
)

# Generated tables and help texts: bytes in plenty, little Python in them.
SKIPPED = (
    "site-packages/",
    "pydoc_data/",
    "lib2to3/tests/data/",
    "encodings/cp",
    "encodings/iso8859",
    "encodings/koi8",
    "encodings/mac_",
    "test/encoded_modules/",
)

# Shared lines in a row (long ones only) that make a file a suspect, and how many such runs drop it.
RUN_OF_LINES, RUNS_ALLOWED = 3, 2


@dataclass(frozen=True)
class Document:
    """One source file: its path inside the standard library, its text, and whether it is a test."""

    path: str
    text: str
    is_test: bool


@dataclass(frozen=True)
class Corpus:
    """What is trained on, what is held out, and which files were dropped for being too close to the latter."""

    train: list[Document]
    held_out: list[Document]
    dropped: list[str]


def is_test(path: str) -> bool:
    """Whether a path lies in one of the standard library's test folders."""
    return any(part in ("test", "tests", "idle_test") for part in path.split("/")[:-1])


def is_test_of_held_out(path: str) -> bool:
    """Whether a test file was written for a held-out module, judged by its name: test_csv.py, test/test_json/..."""
    if not is_test(path):
        return False
    modules = {name.split("/")[0].removesuffix(".py") for name in HELD_OUT}
    parts = [part.removesuffix(".py") for part in path.split("/")]
    return any(part.removeprefix("test_") in modules for part in parts if part.startswith("test_"))


def runs_of_lines(text: str) -> set[int]:
    """Hashes of every run of consecutive long lines of a text; its "fingerprint" for finding copies."""
    lines = [line for line in (raw.strip() for raw in text.splitlines()) if len(line) >= 20]
    return {hash(tuple(lines[i : i + RUN_OF_LINES])) for i in range(len(lines) - RUN_OF_LINES + 1)}


def load_corpus(root: Path | None = None) -> Corpus:
    """Read the standard library below ``root`` (by default the running Python's) and split it."""
    root = root or Path(sysconfig.get_path("stdlib"))
    train: list[Document] = []
    held_out: list[Document] = []
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root).as_posix()
        if path.startswith(SKIPPED):
            continue
        try:
            text = file.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        if path in HELD_OUT:
            held_out.append(Document(path, text, False))
        elif text.strip() and not is_test_of_held_out(path):
            train.append(Document(path, text, is_test(path)))
    missing = set(HELD_OUT) - {document.path for document in held_out}
    if missing:
        raise FileNotFoundError(f"held-out modules not found in {root}: {sorted(missing)}")
    exam = set().union(*(runs_of_lines(document.text) for document in held_out))
    shared = {document.path: len(exam & runs_of_lines(document.text)) for document in train}
    dropped = sorted(path for path, runs in shared.items() if runs > RUNS_ALLOWED)
    return Corpus([document for document in train if document.path not in dropped], held_out, dropped)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE, with a split made for Python: a line break and the indent after it stay in one piece."""
    split = Regex(
        r"[^\r\n\w]?[^\W\d]+"  # a name, with the dot, bracket, quote or blank before it
        r"| ?\d{1,3}"  # up to three digits
        r"| ?[^\s\w]+(?:\n+ *)?"  # punctuation, with the line break and the indent after it
        r"|\s*\n *"  # a line break and the indent after it
        r"|\s+"
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class Stream:
    """Endless training rows from a set of documents.

    Every epoch shuffles the documents, joins them and cuts the result into equally long lanes; rows are taken from
    the lanes in turn, so that a batch holds text from all over the corpus.
    """

    def __init__(self, documents: list[torch.Tensor], seed: int, lanes: int = 128) -> None:
        self.documents = documents
        self.generator = torch.Generator().manual_seed(seed)
        self.tokens = torch.empty(lanes, 0, dtype=torch.long)
        self.at = [0] * lanes
        self.turn = self.taken = 0

    def take(self, count: int) -> torch.Tensor:
        """The next ``count`` tokens of the lane whose turn it is: [count]."""
        lanes = len(self.at)
        lane = self.turn % lanes
        self.turn += 1
        if self.at[lane] + count > self.tokens.shape[1]:
            order = torch.randperm(len(self.documents), generator=self.generator).tolist()
            joined = torch.cat([self.documents[i] for i in order])
            self.tokens = joined[: len(joined) // lanes * lanes].view(lanes, -1)
            self.at = [0] * lanes
        start = self.at[lane]
        self.at[lane] += count - 1  # the last token of a row is the first of the lane's next
        self.taken += count - 1
        return self.tokens[lane, start : start + count]
