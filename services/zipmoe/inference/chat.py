"""Chat: a conversation becomes a prompt by the checkpoint's own template, as transformers renders it. Pure.

A template is a program that came with the weights, and is trusted with no more than text:

* it runs in jinja2's sandbox: it sees the conversation, the special tokens and the time, and changes nothing;
* it is stopped after `MOST_SECONDS` of a processor, wherever it loops;
* the prompt, what an operator puts together, and any width or count it names are within `MOST_CHARACTERS`.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, wraps
from typing import Any, Final, NoReturn

from jinja2 import Template, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from tokenizers import Tokenizer

from zipmoe.errors import InvalidRequest

MOST_SECONDS: Final = 2.0
MOST_CHARACTERS: Final = 1 << 23

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# A width in a format string, or one that is given beside it.
_WIDE = re.compile(r"\d{7}|%[-+ #0]*\*")


@dataclass(frozen=True, slots=True)
class Message:
    """A role is what the template makes of it: system, user, assistant."""

    role: str
    content: str


def load_chat(small_file: Callable[[str], bytes | None]) -> "ChatTemplate | None":
    """The template of a checkpoint whose small files these are, None for what is not there; None if it has none."""

    def parsed(name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(small_file(name) or b"{}")
        return content

    config, file = parsed("tokenizer_config.json"), small_file("chat_template.jinja")
    source = _chosen(config.get("chat_template")) if file is None else file.decode()
    if source is None:
        return None
    # Older checkpoints say their special tokens elsewhere.
    named = config if "added_tokens_decoder" in config else config | parsed("special_tokens_map.json")
    return ChatTemplate(source, _special_tokens(named))


def _chosen(template: Any) -> str | None:
    """A checkpoint has one template, or several with names."""
    if isinstance(template, list):
        template = {each["name"]: each["template"] for each in template}.get("default")
    return template if isinstance(template, str) else None


def _special_tokens(named: Mapping[str, Any]) -> dict[str, str]:
    """A token is a text, or a text with properties; null is none."""
    tokens = {name: named.get(name) for name in _SPECIAL}
    texts = {name: token.get("content") if isinstance(token, dict) else token for name, token in tokens.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


class ChatTemplate:
    """A checkpoint's template. Compiled when first rendered: one that is broken keeps no service from starting."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self._source = source
        self._special_tokens = dict(special_tokens)

    @cached_property
    def _template(self) -> Template:
        return _Sandbox().from_string(self._source)

    def encode(self, tokenizer: Tokenizer, messages: Sequence[Message], generation_prompt: bool = True) -> list[int]:
        """The tokens of what is rendered: the template has written the special ones itself."""
        return tokenizer.encode(self.render(messages, generation_prompt), add_special_tokens=False).ids

    def render(self, messages: Sequence[Message], generation_prompt: bool = True) -> str:
        """The prompt, special tokens included; with `generation_prompt`, it ends where the answer begins.

        Raises InvalidRequest for an empty conversation, for what the template refuses, and if it fails.
        """
        if not messages:
            raise InvalidRequest("the conversation is empty: give at least one message")
        said = [{"role": message.role, "content": message.content} for message in messages]
        try:
            template = self._template
            with _deadline(MOST_SECONDS):
                pieces = template.generate(
                    messages=said,
                    tools=None,
                    documents=None,
                    add_generation_prompt=generation_prompt,
                    **self._special_tokens,
                )
                return _joined(pieces)
        except TemplateError as error:
            raise InvalidRequest(f"the chat template does not take this conversation: {error}") from error
        except Exception as error:
            raise InvalidRequest(f"the chat template fails on this conversation: {error!r}") from error


def _joined(pieces: Iterator[str]) -> str:
    whole, size = [], 0
    for piece in pieces:
        whole.append(piece)
        size += _sized(len(piece))
        _sized(size)
    return "".join(whole)


def _sized(size: int) -> int:
    if size > MOST_CHARACTERS:
        raise SecurityError(f"it makes more than {MOST_CHARACTERS} characters")
    return size


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Ends Python code of this thread between two of its lines, once it has taken so much of a processor."""
    end = time.thread_time() + seconds

    def look(*_: Any) -> Any:
        if time.thread_time() > end:
            raise SecurityError(f"it takes longer than {seconds:.0f} s")
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


# -- what transformers gives a template, and bounds for it


class _Generation(Extension):
    """{% generation %} marks what an assistant wrote, for training. Here it marks nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Compiler(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat_texts((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "*", "**", "%"))
    code_generator_class = _Compiler

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.filters["tojson"] = _tojson
        self.filters = {name: _bounded(each) for name, each in self.filters.items()}
        self.globals |= {"raise_exception": _raise, "strftime_now": _strftime_now, "namespace": _Namespace}

    def concat_texts(self, parts: Sequence[Any]) -> str:
        """What ~ does."""
        texts = [str(part) for part in parts]
        _sized(sum(map(len, texts)))
        return "".join(texts)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(each) for each in (left, right) if isinstance(each, str | list | tuple)]
        numbers = [abs(each) for each in (left, right) if isinstance(each, int)]
        if operator == "%" and sizes:
            _narrow(left)
        elif operator == "+":
            _sized(sum(sizes))
        elif operator == "*" and sizes:
            _sized(sizes[0] * max(numbers, default=0))
        elif operator in ("*", "**") and max(numbers, default=0) > MOST_CHARACTERS:
            raise SecurityError(f"it computes with numbers above {MOST_CHARACTERS}")
        elif operator == "**":
            # Bits of the result, at most.
            _sized(64 * max(numbers, default=0))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, called: Any, /, *args: Any, **named: Any) -> Any:
        _modest(args, named)
        return super().call(context, called, *args, **named)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _narrow(value.__self__)
        return wrapped


class _Namespace(Namespace):
    """What a template assigns to. Names with underscores mean something to Python."""

    def __init__(*args: Any, **named: Any) -> None:
        self, *rest = args
        attributes = dict(*rest, **named)
        for name in attributes:
            _public(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _public(name)
        super().__setitem__(name, value)


def _public(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no {name!r}: names with an underscore before them are Python's")


def _bounded(filtering: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, which is not asked for more than fits."""
    given = 2 if hasattr(filtering, "jinja_pass_arg") else 1

    @wraps(filtering)
    def bounded(*args: Any, **named: Any) -> Any:
        _modest(args[given:], named)
        if filtering.__name__ == "do_format":
            _narrow(args[0])
        return filtering(*args, **named)

    return bounded


def _modest(args: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Widths and counts are numbers that functions are given."""
    for each in (*args, *named.values()):
        if isinstance(each, int):
            _sized(each)


def _narrow(form: object) -> None:
    if _WIDE.search(str(form)):
        raise SecurityError("it formats text to a width of more than six digits, or one that is computed")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
