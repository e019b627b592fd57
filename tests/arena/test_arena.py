"""Arena: made whole or not at all, found again with all it holds, read-only to whoever only opens it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.arena.shapes import FINGERPRINT, header
from zipmoe.arena.arena import Arena, remove
from zipmoe.arena.layout import PAGE, whole
from zipmoe.arena.leases import Leases
from zipmoe.errors import CacheExhausted, InvalidRequest, ServiceRestarting


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "run" / "arena"


def test_attaching_again_keeps_contents_and_epoch(path: Path) -> None:
    first = Arena.create(path, header(3))
    first.memory[-4:] = b"kept"
    again = Arena.create(path, header(3))
    assert again.header == first.header
    assert again.header.epoch > 0
    assert again.memory[-4:].tobytes() == b"kept"


def test_the_epoch_that_is_wanted_does_not_count(path: Path) -> None:
    first = Arena.create(path, header(3))
    assert Arena.create(path, replace(header(3), epoch=1)).header.epoch == first.header.epoch


def test_every_page_exists_from_the_start(path: Path) -> None:
    arena = Arena.create(path, header(3))
    assert len(arena.memory) == arena.header.size
    assert path.stat().st_blocks * 512 >= arena.header.size


def test_an_arena_of_another_model_is_refused_and_kept(path: Path) -> None:
    Arena.create(path, header(3)).memory[-4:] = b"kept"
    with pytest.raises(InvalidRequest, match=f"{FINGERPRINT}.*{'f' * 32}"):
        Arena.create(path, replace(header(3), fingerprint="f" * 32))
    assert Arena.open(path).memory[-4:].tobytes() == b"kept"


def test_an_arena_of_another_size_is_refused_with_both_sizes(path: Path) -> None:
    small, large = header(3, weights=1 << 20), header(5, weights=1 << 20)
    Arena.create(path, small)
    with pytest.raises(InvalidRequest, match=rf"has {small.size / 2**20:.1f} MiB.*{large.size / 2**20:.1f} MiB"):
        Arena.create(path, large)
    assert path.stat().st_size == small.size


def test_a_full_tmpfs_is_an_error_that_leaves_no_file(small_tmpfs: Path) -> None:
    with pytest.raises(CacheExhausted, match=rf"the arena needs 6\.\d MiB in {small_tmpfs}, where 1\.0 MiB are free"):
        Arena.create(small_tmpfs / "arena", header(3, weights=1 << 20))
    assert list(small_tmpfs.iterdir()) == []
    Arena.create(small_tmpfs / "arena", header(2))


def test_opening_waits_for_the_store(path: Path) -> None:
    with pytest.raises(ServiceRestarting, match=f"no arena at {path} yet"):
        Arena.open(path)


def test_a_file_that_is_cut_short_is_no_arena(path: Path) -> None:
    Arena.create(path, header(3))
    os.truncate(path, header(3).size - PAGE)
    with pytest.raises(ServiceRestarting):
        Arena.open(path)


def test_a_damaged_arena_is_made_anew(path: Path) -> None:
    first = Arena.create(path, header(3))
    first.memory[3] ^= 1
    first.memory[-4:] = b"lost"
    again = Arena.create(path, header(3))
    assert again.header.epoch > first.header.epoch
    assert again.memory[-4:].tobytes() == bytes(4)


def test_a_reader_cannot_write(path: Path) -> None:
    Arena.create(path, header(3))
    reader = Arena.open(path)
    assert reader.memory.readonly
    with pytest.raises(TypeError, match="cannot modify read-only memory"):
        reader.memory[0] = 0


def test_an_owner_of_pages_writes_what_others_read(path: Path) -> None:
    store, reader = Arena.create(path, header(3)), Arena.open(path)
    use = reader.header.use_offset
    reader.writable(use, reader.header.use_bytes)[:3] = b"use"
    assert store.memory[use : use + 3].tobytes() == reader.memory[use : use + 3].tobytes() == b"use"


def test_there_is_no_partition_until_it_is_written(path: Path) -> None:
    arena = Arena.create(path, header(3))
    assert arena.partition() is None
    record = whole(arena.header).to_bytes(arena.header.epoch)
    arena.writable(PAGE, PAGE)[: len(record)] = record
    assert Arena.open(path).partition() == whole(arena.header)


def test_removing_leaves_nothing(path: Path) -> None:
    Arena.create(path, header(3))
    Leases(path).close()
    remove(path)
    assert not path.parent.exists()
    remove(path)


def test_whoever_detaches_gives_the_memory_back(path: Path) -> None:
    def held() -> list[str]:
        links = (entry for entry in Path("/proc/self/fd").iterdir())
        return [target for link in links if (target := _target(link)).startswith(str(path))]

    arenas = [Arena.create(path, header(3)), Arena.open(path)]
    remove(path)
    assert held()
    arenas.clear()
    assert not held()


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


def test_removing_leaves_what_is_not_its_own(path: Path) -> None:
    Arena.create(path, header(3))
    (path.parent / "notes").touch()
    remove(path)
    assert [left.name for left in path.parent.iterdir()] == ["notes"]
