"""Names: what is a model on the hub, and what can only be a path."""

import pytest

from zipmoe.hub.name import Name, parse


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("allenai/OLMoE-1B-7B-0924", Name("allenai/OLMoE-1B-7B-0924")),
        ("Qwen/Qwen1.5-MoE-A2.7B", Name("Qwen/Qwen1.5-MoE-A2.7B", "main")),
        ("org/name@v1.0", Name("org/name", "v1.0")),
        ("org/name@refs/pr/4", Name("org/name", "refs/pr/4")),
        ("org/name@" + "0af3" * 10, Name("org/name", "0af3" * 10)),
    ],
)
def test_a_name_is_an_id_and_perhaps_a_revision(text: str, name: Name) -> None:
    assert parse(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    ["", "olmoe.zipmoe", "./org/name", "/org/name", "~/name", "../name", "a/b/c", "org/", "org/name/", "org/na me"],
)
def test_a_path_is_no_name(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("text", ["a/b@", "a/b@x y", "a/b@../../x", "a/b--c", "a--b/c", "a/b.", "-a/b", "a/..b"])
def test_what_the_hub_does_not_allow_is_no_name(text: str) -> None:
    assert parse(text) is None


def test_a_commit_is_known_as_one() -> None:
    assert Name("a/b", "0123456789abcdef" * 2 + "01234567").is_commit
    assert not Name("a/b").is_commit
    assert not Name("a/b", "0123abc").is_commit
