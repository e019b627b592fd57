"""Damage: a changed bit or a missing end is found before a wrong weight is used, and the message says where."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pack.checkpoints import Words, write
from tests.pack.restoring import everything, restored
from zipmoe.errors import CorruptExpert, InvalidRequest, ZipMoEError
from zipmoe.pack import manifest
from zipmoe.pack.codec import CODECS
from zipmoe.pack.manifest import DENSE, EXPERTS, MANIFEST
from zipmoe.pack.reader import Pack
from zipmoe.pack.verify import verify


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory, packs: dict[str, Path]) -> dict[str, Path]:
    """Packs to damage; whoever does puts the bytes back."""
    folder = tmp_path_factory.mktemp("copies")
    return {name: Path(shutil.copytree(path, folder / name)) for name, path in packs.items()}


def with_bytes(path: Path, text: bytes, act: Callable[[], None]) -> None:
    original = path.read_bytes()
    path.write_bytes(text)
    try:
        act()
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("file", [EXPERTS, DENSE, MANIFEST, "config.json", "tokenizer.json"])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_flipped_bit_is_found(copies: dict[str, Path], codec: str, file: str, data: st.DataObject) -> None:
    path = copies[codec] / file
    text = bytearray(path.read_bytes())
    text[data.draw(st.integers(0, len(text) - 1), "byte")] ^= 1 << data.draw(st.integers(0, 7), "bit")

    def found() -> None:
        with pytest.raises(ZipMoEError, match=file):
            verify(copies[codec])
        if file in (EXPERTS, DENSE):
            with pytest.raises(CorruptExpert, match=f"{file}: .* damaged"):
                everything(copies[codec])

    with_bytes(path, bytes(text), found)


@pytest.mark.parametrize("file", [EXPERTS, DENSE, MANIFEST])
def test_a_missing_or_surplus_end_is_found_at_open(copies: dict[str, Path], file: str) -> None:
    path = copies["zstd"] / file
    text = path.read_bytes()

    def found() -> None:
        with pytest.raises((CorruptExpert, InvalidRequest), match=file):
            Pack.open(copies["zstd"])

    for size in (0, 1, 4095, 4096, 4097, len(text) // 2, len(text) - 4096, len(text) - 1):
        if 0 <= size < len(text):
            with_bytes(path, text[:size], found)
    with_bytes(path, text + b"\0", found)


def test_a_file_that_shrinks_while_open_is_found(copies: dict[str, Path]) -> None:
    path = copies["lz4"] / EXPERTS
    original = path.read_bytes()
    with Pack.open(copies["lz4"]) as pack:
        blob = pack.expert(1, 2)
        for size in (0, blob.offset, blob.sign_mantissa_offset, blob.sign_mantissa_offset + 1, blob.end - 1):
            with path.open("r+b") as file:
                file.truncate(size)
            with pytest.raises(CorruptExpert, match=r"experts\.bin is truncated"):
                restored(pack, pack.experts_file, blob)
        path.write_bytes(original)


def test_a_missing_file_is_named(packs: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(packs["zstd"], tmp_path / "copy"))
    (copy / EXPERTS).unlink()
    with pytest.raises(CorruptExpert, match=r"experts\.bin cannot be opened"):
        Pack.open(copy)
    (copy / MANIFEST).unlink()
    with pytest.raises(InvalidRequest, match=r"is not a pack .* make one: zipmoe pack"):
        Pack.open(copy)


def test_a_newer_format_is_refused(packs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(shutil.copytree(packs["zstd"], tmp_path / "copy"))
    contents = manifest.load(copy)
    monkeypatch.setattr(manifest, "VERSION", manifest.VERSION + 1)
    manifest.save(contents, copy)
    monkeypatch.undo()
    with pytest.raises(
        InvalidRequest,
        match=f"has format version {manifest.VERSION + 1}, this program reads {manifest.VERSION}: update it",
    ):
        Pack.open(copy)


@given(st.binary(max_size=300))
def test_rubbish_is_no_manifest(tmp_path_factory: pytest.TempPathFactory, rubbish: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "rubbish"
    folder.mkdir(exist_ok=True)
    for head in (b"", b"ZIPMOEPK\x01\0\0\0"):
        (folder / MANIFEST).write_bytes(head + rubbish)
        with pytest.raises((InvalidRequest, CorruptExpert)):
            Pack.open(folder)


def test_names_the_tensor_that_differs_from_the_checkpoint(
    packs: dict[str, Path], words: Words, tmp_path: Path
) -> None:
    name = "model.layers.1.mlp.experts.2.up_proj.weight"
    changed = {**words, name: words[name].copy()}
    changed[name][3, 5] ^= 1
    write(tmp_path / "other", changed)
    with pytest.raises(CorruptExpert, match=rf"{name}, in .*experts.bin at \d+, differs from .*model.safetensors"):
        verify(packs["zstd"], tmp_path / "other")


def test_names_a_config_that_differs(packs: dict[str, Path], words: Words, tmp_path: Path) -> None:
    write(tmp_path / "other", words, rope_theta=7)
    with pytest.raises(CorruptExpert, match=r"config\.json differs"):
        verify(packs["zstd"], tmp_path / "other")


def test_a_pack_of_another_model_is_the_callers_error(packs: dict[str, Path], words: Words, tmp_path: Path) -> None:
    write(tmp_path / "other", {**words, "model.extra": words["model.norm.weight"]})
    with pytest.raises(InvalidRequest, match="was not packed from"):
        verify(packs["zstd"], tmp_path / "other")
