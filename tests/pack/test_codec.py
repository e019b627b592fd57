"""Codecs: what goes in comes out; what is damaged never passes silently, and nothing is written past the end."""

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipmoe.errors import InvalidRequest
from zipmoe.pack.codec import CODECS, codec

GUARD = b"\xa5" * 64
planes = st.one_of(
    st.binary(min_size=1, max_size=5000),
    st.builds(lambda byte, n: bytes([byte]) * n, st.integers(0, 255), st.integers(1, 100_000)),
    st.builds(lambda seed, n: bytes(random.Random(seed).choices(range(110, 125), k=n)), st.integers(), st.just(20_000)),
)


def decompressed(name: str, stored: bytes, size: int) -> bytes:
    memory = bytearray(size) + GUARD
    try:
        codec(name).decompress_into(stored, memoryview(memory)[:size])
    finally:
        assert memory[size:] == GUARD
    return bytes(memory[:size])


@pytest.mark.parametrize("name", CODECS)
@given(plane=planes)
def test_gives_back_what_it_got(name: str, plane: bytes) -> None:
    assert decompressed(name, codec(name).compress(plane), len(plane)) == plane


@pytest.mark.parametrize("name", CODECS)
@given(plane=planes, wrong=st.integers(-3, 3).filter(bool))
def test_refuses_another_size(name: str, plane: bytes, wrong: int) -> None:
    stored = codec(name).compress(plane)
    with pytest.raises(ValueError, match=r"bytes|frame|corrupt|exponents"):
        decompressed(name, stored, max(len(plane) + wrong, 0))


@pytest.mark.parametrize("name", CODECS)
@given(rubbish=st.binary(max_size=200), size=st.integers(0, 300))
def test_rubbish_is_a_value_error_or_bytes(name: str, rubbish: bytes, size: int) -> None:
    with suppress(ValueError):
        assert len(decompressed(name, rubbish, size)) == size


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data(), plane=planes)
def test_damage_stays_inside_the_buffer(name: str, data: st.DataObject, plane: bytes) -> None:
    stored = bytearray(codec(name).compress(plane))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(ValueError):
        decompressed(name, bytes(stored), len(plane))


def test_names_the_codecs_it_has() -> None:
    with pytest.raises(InvalidRequest, match="'brotli' is unknown: choose one of raw, zstd, lz4, pack3, pack4"):
        codec("brotli")
