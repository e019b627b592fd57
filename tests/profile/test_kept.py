"""Kept: found again while everything is as it was, and no reason to fail otherwise."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.profile.test_rates import RATES
from zipmoe.pack.reader import Pack
from zipmoe.pack.writer import pack as write_pack
from zipmoe.profile import kept
from zipmoe.profile.device import Device


@pytest.fixture
def pack(small_pack: Path, cache: Path) -> Iterator[Pack]:  # noqa: ARG001
    with Pack.open(small_pack) as opened:
        yield opened


@pytest.fixture
def file(pack: Pack) -> Path:
    """Where one is kept."""
    found = kept.keep(pack, RATES, 0.5).file
    assert found is not None
    return found


def test_what_was_kept_is_found(pack: Pack, cache: Path) -> None:
    assert kept.load(pack) is None
    made = kept.keep(pack, RATES, 0.5)
    assert kept.load(pack) == made
    assert made.file is not None
    assert made.file.parent == cache
    assert list(cache.iterdir()) == [made.file]


@pytest.mark.parametrize(
    "other",
    [
        lambda here: replace(here, processor="a 6502"),
        lambda here: replace(here, cores=99),
        lambda here: replace(here, memory=1),
        lambda here: replace(here, disk="0:0"),
    ],
)
def test_another_device_has_another_profile(
    pack: Pack, file: Path, other: Callable[[Device], Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert file.exists()
    here = Device.of(pack.experts_path)
    monkeypatch.setattr(Device, "of", lambda _: other(here))
    assert kept.load(pack) is None


def test_another_version_measures_otherwise(pack: Pack, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file.exists()
    monkeypatch.setattr(kept, "VERSION", kept.VERSION + 1)
    assert kept.load(pack) is None


def test_another_codec_has_another_profile(pack: Pack, file: Path, small_pack: Path, tmp_path: Path) -> None:
    write_pack(small_pack.with_name("checkpoint"), tmp_path / "raw.zipmoe", "raw")
    with Pack.open(tmp_path / "raw.zipmoe") as raw:
        assert raw.fingerprint == pack.fingerprint
        assert kept.load(raw) is None
        # Not by its name alone.
        file.rename(file.with_name(file.name.replace("zstd", "raw")))
        assert kept.load(raw) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(b"disk", b"dusk"),
        lambda text: text.replace(b"0.0001", b"NaN"),
        lambda text: b"\xff" + text,
        lambda _: b"[" * 100_000,
        lambda _: b"[]",
        lambda text: json.dumps({**json.loads(text), "measured": None}).encode(),
        lambda text: json.dumps({**json.loads(text), "measured": math.inf}).encode(),
        lambda text: json.dumps({**json.loads(text), "load": []}).encode(),
    ],
)
def test_a_damaged_one_is_as_none(pack: Pack, file: Path, damage: Callable[[bytes], bytes]) -> None:
    file.write_bytes(damage(file.read_bytes()))
    assert kept.load(pack) is None
    assert kept.keep(pack, RATES, 0.5) == kept.load(pack)


def test_where_nothing_can_be_kept_nothing_fails(pack: Pack, cache: Path) -> None:
    cache.write_text("a file, not a folder")
    assert kept.load(pack) is None
    made = kept.keep(pack, RATES, 0.5)
    assert made.file is None
    assert made.rates == RATES


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZIPMOE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/cache")
    assert kept.cache_folder() == Path("/somewhere/cache/zipmoe")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert kept.cache_folder() == Path("/home/somebody/.cache/zipmoe")
