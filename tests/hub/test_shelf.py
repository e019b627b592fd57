"""Shelf: a name stands for the pack that was made of it last, whatever the hub has meanwhile."""

from pathlib import Path

import pytest

from zipmoe.hub.name import Name
from zipmoe.hub.shelf import Shelf
from zipmoe.pack.manifest import VERSION

OLD, NEW = "a" * 40, "b" * 40
MAIN = Name("org/name")


def made(shelf: Shelf, name: Name, commit: str, codec: str = "zstd") -> Path:
    pack = shelf.place(name, commit, codec)
    pack.mkdir(parents=True)
    (pack / "manifest").touch()
    shelf.name(name, pack)
    return pack


def test_a_name_stands_for_what_was_made_last(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.find(MAIN) is None
    old = made(shelf, MAIN, OLD)
    assert shelf.find(MAIN) == old
    new = made(shelf, MAIN, NEW)
    assert shelf.find(MAIN) == new
    quick = made(shelf, MAIN, NEW, "pack4")
    assert shelf.find(MAIN) == quick


def test_names_are_apart(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    tagged, other = Name("org/name", "refs/pr/1"), Name("org/other")
    first, second = made(shelf, MAIN, OLD), made(shelf, tagged, NEW)
    assert shelf.find(MAIN) == first
    assert shelf.find(tagged) == second
    assert shelf.find(other) is None
    assert shelf.find(Name("org/name", "refs")) is None


def test_a_commit_is_found_whatever_name_it_was_made_by(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    pack = made(shelf, MAIN, OLD)
    assert shelf.find(Name("org/name", OLD)) == pack
    assert shelf.find(Name("org/name", NEW)) is None


def test_a_pack_that_was_deleted_or_never_finished_is_none(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    pack = made(shelf, MAIN, OLD)
    (pack / "manifest").unlink()
    assert shelf.find(MAIN) is None
    assert shelf.find(Name("org/name", OLD)) is None
    pack.rmdir()
    assert shelf.find(MAIN) is None


def test_a_pack_in_an_older_format_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path)
    old = made(shelf, MAIN, OLD)
    monkeypatch.setattr("zipmoe.hub.shelf.VERSION", VERSION + 1)
    assert shelf.find(MAIN) is None
    assert shelf.find(Name("org/name", OLD)) is None
    new = made(shelf, MAIN, OLD)
    assert new != old
    assert shelf.find(MAIN) == new
