"""Memory: the least limit that holds is what there is."""

from pathlib import Path

import pytest

from zipmoe.cli import memory


def test_a_limit_of_any_group_above_counts(tmp_path: Path) -> None:
    for folder, limit in (("", "max"), ("a", "5000"), ("a/b", "3000"), ("a/b/c", "max")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "memory.max").write_text(f"{limit}\n")
    assert sorted(memory._upwards(tmp_path, "/a/b/c", "memory.max")) == [3000, 5000]


def test_a_group_that_is_seen_as_the_top_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.limit_in_bytes").write_text("7000\n")
    assert list(memory._upwards(tmp_path, "/docker/0123", "memory.limit_in_bytes")) == [7000]


def test_what_there_is_is_less_than_the_device_has() -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < memory.available() <= total


def test_no_limit_leaves_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_limits", lambda: iter([1 << 62]))
    available = int(
        next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line).split()[1]
    )
    assert memory.available() == pytest.approx(available * 1024 * memory.SHARE, rel=0.2)
    monkeypatch.setattr(memory, "_limits", lambda: iter([1 << 62, 4096]))
    assert memory.available() == 4096
