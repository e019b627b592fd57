"""Chat: prompts are those of transformers, character by character and token by token; a template reaches nothing."""

import json
import shutil
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from zipmoe.errors import InvalidRequest
from zipmoe.inference import chat
from zipmoe.inference.chat import ChatTemplate, Message, load_chat

TEMPLATES = Path(__file__).parent / "templates"
DEMO = Path(__file__).parents[2] / "models" / "demo" / "tokenizer.json"
NAMES = sorted(file.stem for file in TEMPLATES.glob("*.jinja"))
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
USER, ASSISTANT, SYSTEM = "user", "assistant", "system"

CONVERSATIONS: dict[str, list[tuple[str, str]]] = {
    "one": [(USER, "What is 1 + 1?")],
    "system": [(SYSTEM, "  Be kind.\n"), (USER, "Grüße, 漢字 🙂")],
    "turns": [(USER, "a"), (ASSISTANT, "<think>\nso\n</think>\n\nAn answer."), (USER, "  and\nthen?  ")],
    "long": [(role, f"turn {turn}") for turn in range(4) for role in (USER, ASSISTANT)] + [(USER, "end")],
    "twice": [(USER, "a"), (USER, "b")],
    "late system": [(USER, "a"), (ASSISTANT, "b"), (SYSTEM, "c")],
    "markup": [(USER, "<b>&amp;'\"</b> {{ bos_token }} {% for %} <|im_end|> </s>")],
    "empty": [(USER, ""), (ASSISTANT, "")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that begins every text with <s>, if it is not told not to."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer.from_file(str(DEMO))
    tokenizer.add_special_tokens(SPECIAL)
    begin = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def config(**others: Any) -> dict[str, Any]:
    eos = {"content": "</s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    named = {"bos_token": "<s>", "eos_token": {"__type": "AddedToken", **eos}, "pad_token": None}
    return {"tokenizer_class": "PreTrainedTokenizerFast", **named, **others}


def write(source: Path, into: Path, files: dict[str, Any]) -> Path:
    shutil.copy(source / "tokenizer.json", into)
    for name, content in files.items():
        (into / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return into


def small_files(folder: Path) -> Callable[[str], bytes | None]:
    return lambda name: (folder / name).read_bytes() if (folder / name).exists() else None


def template(folder: Path) -> ChatTemplate:
    loaded = load_chat(small_files(folder))
    assert loaded is not None
    return loaded


@cache
def read(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text()


@pytest.mark.parametrize("generation_prompt", [True, False])
@pytest.mark.parametrize("which", CONVERSATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_is_transformers(folder: Path, tmp_path: Path, name: str, which: str, generation_prompt: bool) -> None:
    write(folder, tmp_path, {"tokenizer_config.json": config(), "chat_template.jinja": read(name)})
    ours, tokenizer = template(tmp_path), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    said = [Message(role, content) for role, content in CONVERSATIONS[which]]
    dicts = [{"role": role, "content": content} for role, content in CONVERSATIONS[which]]
    try:
        text = theirs.apply_chat_template(dicts, tokenize=False, add_generation_prompt=generation_prompt)
    except Exception as error:
        with pytest.raises(InvalidRequest, match=str(error)[:40].replace("(", r"\(")):
            ours.render(said, generation_prompt)
    else:
        assert ours.render(said, generation_prompt) == text
        ids = theirs.apply_chat_template(dicts, add_generation_prompt=generation_prompt, return_dict=False)
        assert ours.encode(tokenizer, said, generation_prompt) == ids


def test_the_templates_are_told_apart() -> None:
    """Those that begin with <s> do so once, and those that refuse do refuse."""
    rendered = {name: ChatTemplate(read(name), {"bos_token": "<s>", "eos_token": "</s>"}) for name in NAMES}
    assert {name for name in NAMES if rendered[name].render([Message(USER, "x")]).startswith("<s>")} == {
        "llama",
        "mixtral",
    }
    with pytest.raises(InvalidRequest, match="roles must alternate"):
        rendered["mixtral"].render([Message(USER, "a"), Message(USER, "b")])


ONE, OTHER = "{{ bos_token }}one{{ eos_token }}", "other"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer_config.json": config(chat_template=ONE)}, "<s>one</s>"),
        ({"tokenizer_config.json": config(chat_template=OTHER), "chat_template.jinja": ONE}, "<s>one</s>"),
        (
            {
                "tokenizer_config.json": config(
                    chat_template=[{"name": "tool_use", "template": OTHER}, {"name": "default", "template": ONE}]
                )
            },
            "<s>one</s>",
        ),
        (
            {
                "tokenizer_config.json": config(chat_template=ONE, eos_token=None),
                "special_tokens_map.json": {"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}},
            },
            "<|im_start|>one<|im_end|>",
        ),
        (
            {
                "tokenizer_config.json": config(chat_template=ONE, added_tokens_decoder={}),
                "special_tokens_map.json": {"bos_token": "<|im_start|>"},
            },
            "<s>one</s>",
        ),
        ({"tokenizer_config.json": config(chat_template=ONE, bos_token=None)}, "one</s>"),
    ],
    ids=["string", "file first", "named", "map", "newer map", "no bos"],
)
def test_a_template_is_found_where_transformers_finds_it(
    folder: Path, tmp_path: Path, files: dict[str, Any], expected: str
) -> None:
    write(folder, tmp_path, files)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.apply_chat_template([{"role": USER, "content": "x"}], tokenize=False) == expected
    assert template(tmp_path).render([Message(USER, "x")]) == expected


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"tokenizer_config.json": "{}"},
        {"tokenizer_config.json": json.dumps({"chat_template": [{"name": "rag", "template": "x"}]})},
        {"tokenizer_config.json": json.dumps({"chat_template": None})},
    ],
)
def test_a_checkpoint_may_have_none(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert load_chat(small_files(tmp_path)) is None


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ raise_exception('only in pairs') }}", "only in pairs"),
        ("{% if %}", "Expected an expression"),
        ("{{ messages[0].nothing.at_all }}", "has no attribute 'nothing'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ cycler.__init__.__globals__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ messages[0].update(role='x') }}", "unsafe"),
        ("{% set ns = namespace(__html__=1) %}", "underscore"),
        ("{% set ns = namespace() %}{% set ns._x = 1 %}", "underscore"),
        ("{% include '/etc/passwd' %}", "no loader"),
    ],
)
def test_what_a_template_may_not_is_said(source: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        ChatTemplate(source, {}).render([Message(USER, "x")])


def test_an_empty_conversation_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="conversation is empty"):
        ChatTemplate("x", {}).render([])


LOOP = "{% for each in range(99999) %}"


@pytest.mark.parametrize(
    "source",
    [
        LOOP * 3 + "{% endfor %}" * 3,
        "{{ lipsum(n=99999) }}",
        "{% macro again() %}{{ again() }}{{ again() }}{% endmacro %}{{ again() }}",
        LOOP + "{{ 'x' * 9999 }}{% endfor %}",
        "{% set ns = namespace(x='x') %}" + LOOP + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='x') %}" + LOOP + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}" + LOOP + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=3) %}" + LOOP + "{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{{ 10000000000 * 'x' }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ 'x' | center(10000000000) }}",
        "{{ 'x'.rjust(10000000000) }}",
        "{{ messages | tojson(indent=10000000000) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%*d' % (10000000000, 1) }}",
        "{{ '%10000000000d' | format(1) }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 10000000000) }}",
        "{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}",
    ],
)
def test_a_template_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(chat, "MOST_SECONDS", 0.2)
    before = time.process_time()
    with pytest.raises(InvalidRequest):
        ChatTemplate(source, {}).render([Message(USER, "x")])
    assert time.process_time() - before < 5


def test_a_long_conversation_is_within_the_bounds() -> None:
    said = [Message(role, "word " * 500) for _ in range(300) for role in (USER, ASSISTANT)]
    assert len(ChatTemplate(read("chatml"), {}).render(said)) > 600 * 2500
