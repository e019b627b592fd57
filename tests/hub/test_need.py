"""Need: what is here is not counted, and two things on one disk are added up."""

from pathlib import Path

import pytest

from zipmoe.errors import DiskFull
from zipmoe.hub.need import SHARES, SPARE, Disk, File, Need, check_room, size
from zipmoe.pack.codec import CODECS

GIB = 1 << 30
FILES = (
    File("config.json", 1000, here=True),
    File("model-1.safetensors", 4 * GIB, here=True),
    File("model-2.safetensors", 6 * GIB, here=False),
)


def disk(device: int, free: int) -> Disk:
    return Disk(Path(f"/disk{device}"), device, free)


def test_what_is_here_is_not_fetched_and_is_packed_all_the_same() -> None:
    need = Need.of(FILES, "raw")
    assert need == Need(6 * GIB, 4 * GIB + 1000, int(SPARE * 10 * GIB))
    assert Need.of(FILES, None).pack == 0


def test_of_an_interrupted_pack_the_rest_is_needed() -> None:
    assert Need.of(FILES, "raw").pack - Need.of(FILES, "raw", 3 * GIB).pack == 3 * GIB
    assert Need.of(FILES, "zstd", 20 * GIB).pack == 0


def test_every_codec_has_a_share() -> None:
    assert SHARES.keys() == CODECS.keys()


def test_one_disk_must_hold_both() -> None:
    need = Need(6 * GIB, 0, 4 * GIB)
    check_room(need, disk(1, 10 * GIB), disk(1, 10 * GIB))
    with pytest.raises(
        DiskFull, match=r"10\.0 GiB are needed, 6\.0 GiB to fetch and about 4\.0 GiB to pack, and 9\.0 GiB"
    ):
        check_room(need, disk(1, 9 * GIB), disk(1, 9 * GIB))


def test_two_disks_hold_one_each() -> None:
    need = Need(6 * GIB, 0, 4 * GIB)
    check_room(need, disk(1, 6 * GIB), disk(2, 4 * GIB))
    with pytest.raises(DiskFull, match=r"6\.0 GiB are to be fetched, and 5\.0 GiB are free on the disk of /disk1"):
        check_room(need, disk(1, 5 * GIB), disk(2, 4 * GIB))
    with pytest.raises(DiskFull, match=r"the pack needs about 4\.0 GiB, and 1\.0 GiB are free on the disk of /disk2"):
        check_room(need, disk(1, 6 * GIB), disk(2, GIB))


def test_sizes_read_well() -> None:
    assert [size(count) for count in (0, 3 << 19, GIB - 1, 5 * GIB // 2)] == [
        "0.0 MiB",
        "1.5 MiB",
        "1024.0 MiB",
        "2.5 GiB",
    ]
