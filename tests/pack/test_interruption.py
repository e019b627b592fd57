"""Interruption: a pack that was killed goes on where it stopped, and is the pack that it would have been."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pack.checkpoints import Sizes, Words, random_words, write
from tests.pack.heard import Heard
from zipmoe.errors import DiskFull, InvalidRequest
from zipmoe.pack import disk, writer
from zipmoe.pack.appender import Appender
from zipmoe.pack.journal import JOURNAL, Journal
from zipmoe.pack.manifest import DENSE, EXPERTS, MANIFEST
from zipmoe.pack.verify import verify
from zipmoe.pack.writer import pack

FILES = (EXPERTS, DENSE, MANIFEST, "config.json")
BLOBS = 10


def contents(path: Path) -> dict[str, bytes]:
    assert not (path / JOURNAL).exists()
    return {name: (path / name).read_bytes() for name in FILES}


def interrupt(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, dst: Path, after: int, codec: str = "zstd") -> None:
    """Pack, and stop after so many blobs are journalled."""

    class Stop(Exception):
        pass

    left = after
    real = Journal.append

    def append(journal: Journal, name: str, blob: object) -> None:
        nonlocal left
        if left == 0:
            raise Stop
        left -= 1
        real(journal, name, blob)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", append)
        with pytest.raises(Stop):
            pack(checkpoint, dst, codec)


def test_killed_twice_it_is_the_same_pack(tmp_path: Path) -> None:
    sizes = Sizes(3, 8, 64, 48)
    write(tmp_path / "checkpoint", random_words(3, sizes), sizes)
    dst = tmp_path / "packed"
    for lines in (3, 14):
        command = [sys.executable, "-m", "tests.pack.packing", str(tmp_path / "checkpoint"), str(dst), "zstd"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
            assert process.stdout is not None
            for _ in range(lines):
                assert process.stdout.readline()
            process.kill()
        assert not dst.exists()
    pack(tmp_path / "checkpoint", dst)
    pack(tmp_path / "checkpoint", tmp_path / "whole")
    assert contents(dst) == contents(tmp_path / "whole")
    assert verify(dst, tmp_path / "checkpoint").tensors == 3 * 8 * 3 + 3 + 2


def test_stopped_after_any_blob_it_is_the_same_pack(
    tmp_path: Path, checkpoint: Path, packs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for after in range(BLOBS):
        dst = tmp_path / str(after)
        interrupt(monkeypatch, checkpoint, dst, after)
        heard = Heard()
        pack(checkpoint, dst, progress=heard)
        assert heard.resumed == after
        assert contents(dst) == contents(packs["zstd"])


@pytest.mark.parametrize("file", [EXPERTS, DENSE, JOURNAL])
def test_what_a_power_cut_left_is_packed_again(
    tmp_path: Path, checkpoint: Path, packs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """The journal may be ahead of the data, or torn itself."""
    random.seed(file)
    for after in (6, 9):
        interrupt(monkeypatch, checkpoint, tmp_path / "packed", after)
        damaged = tmp_path / "packed.partial" / file
        text = damaged.read_bytes()
        # The journal's first record is the job: what is not this job's is not resumed.
        start = 0 if file != JOURNAL else len(text) // 2
        damaged.write_bytes(text[: random.randint(start, len(text))] + bytes(random.randint(0, 5000)))
        pack(checkpoint, tmp_path / "packed")
        assert contents(tmp_path / "packed") == contents(packs["zstd"])
        shutil.rmtree(tmp_path / "packed")


def test_a_journal_torn_in_its_first_record_begins_anew(
    tmp_path: Path, checkpoint: Path, packs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, checkpoint, tmp_path / "packed", 4)
    journal = tmp_path / "packed.partial" / JOURNAL
    journal.write_bytes(journal.read_bytes()[:7])
    interrupt(monkeypatch, checkpoint, tmp_path / "packed", 2)
    pack(checkpoint, tmp_path / "packed")
    assert contents(tmp_path / "packed") == contents(packs["zstd"])


def test_stopped_before_the_rename_it_finishes(
    tmp_path: Path, checkpoint: Path, packs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", _interrupted_rename(Path.rename))
        with pytest.raises(InterruptedError):
            pack(checkpoint, tmp_path / "packed")
    assert (tmp_path / "packed.partial" / MANIFEST).exists()
    pack(checkpoint, tmp_path / "packed")
    assert contents(tmp_path / "packed") == contents(packs["zstd"])


def _interrupted_rename(rename: object) -> object:
    def act(path: Path, target: Path) -> Path:
        if path.is_dir():
            raise InterruptedError
        return rename(path, target)  # type: ignore[operator, no-any-return]

    return act


def test_another_source_or_codec_does_not_go_on(
    tmp_path: Path, checkpoint: Path, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, checkpoint, tmp_path / "packed", 3)
    write(tmp_path / "other", words)
    for source, codec in ((checkpoint, "lz4"), (tmp_path / "other", "zstd")):
        with pytest.raises(InvalidRequest, match=r"packed\.partial was begun from another .*: remove that folder"):
            pack(source, tmp_path / "packed", codec)
    pack(checkpoint, tmp_path / "packed")


def test_two_processes_do_not_pack_into_one_folder(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "packed.partial").mkdir()
    with Journal(tmp_path / "packed.partial", []), pytest.raises(InvalidRequest, match="another process is packing"):
        pack(checkpoint, tmp_path / "packed")


def test_a_disk_that_is_too_small_is_said_first(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "free_bytes", lambda _: 50_000)
    with pytest.raises(DiskFull, match=r"packing needs about 0\.1 MiB more, 0\.0 MiB are free on the disk of .*packed"):
        pack(checkpoint, tmp_path / "packed")
    assert (tmp_path / "packed.partial" / EXPERTS).stat().st_size == 0
    # Only what is missing is asked for.
    monkeypatch.setattr(writer, "free_bytes", disk.free_bytes)
    interrupt(monkeypatch, checkpoint, tmp_path / "packed", BLOBS - 1)
    monkeypatch.setattr(writer, "free_bytes", lambda _: 50_000)
    pack(checkpoint, tmp_path / "packed")


def test_a_disk_that_fills_up_keeps_what_is_written(
    tmp_path: Path, checkpoint: Path, packs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Appender._write

    def write_some(appender: Appender, position: int, stored: bytes, digest: object) -> int:
        if appender.path.name == EXPERTS and position > 30_000:
            raise OSError(28, "No space left on device")
        return real(appender, position, stored, digest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Appender, "_write", write_some)
        with pytest.raises(DiskFull, match=r"is full, .* run the same command again"):
            pack(checkpoint, tmp_path / "packed")
    heard = Heard()
    pack(checkpoint, tmp_path / "packed", progress=heard)
    assert heard.resumed > 0
    assert contents(tmp_path / "packed") == contents(packs["zstd"])
