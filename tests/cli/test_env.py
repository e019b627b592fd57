"""zipmoe env: the one number as three limits, in a file that shells, compose and systemd read alike."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from zipmoe.cli.containers import Limits, bare
from zipmoe.cli.overhead import Processes, Taken
from zipmoe.pack.reader import Pack

MIB = 1 << 20
COMMAND = str(Path(sys.executable).with_name("zipmoe"))
LIMITS = tuple(f"ZIPMOE_{name}_MEMORY" for name in ("EXPERT_STORE", "SCHEDULER", "INFERENCE"))


def env(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, "env", *map(str, arguments)], capture_output=True, text=True, timeout=240)


def read(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Z_]+=[\w/.,-]+", line) for line in lines), lines
    return dict(line.split("=", 1) for line in lines)


def test_a_container_has_room_for_all_that_runs_in_it() -> None:
    processes = Processes(
        expert_store=Taken(20 * MIB, 20 * MIB),
        worker=Taken(8 * MIB, 8 * MIB),
        scheduler=Taken(19 * MIB, 19 * MIB),
        inference=Taken(160 * MIB, 90 * MIB),
    )
    health = Taken(16 * MIB, 18 * MIB)
    one, two = (bare(processes, health, workers, 512 * MIB) for workers in (1, 2))
    assert one.expert_store > (20 + 20 + 8 + 16) * MIB
    assert two.expert_store - one.expert_store == (8 + 1) * MIB, "a worker is its own memory, and maps the arena"
    assert (two.scheduler, two.inference) == (one.scheduler, one.inference)
    assert one.inference > (160 + 90 + 16) * MIB


def test_the_arena_is_the_stores_and_what_is_multiplied_with_is_inferences() -> None:
    assert Limits(1, 2, 3).plus(arena=10, held=20) == Limits(11, 2, 23)
    assert Limits(11, 2, 23).total == 36


def test_the_limits_are_the_one_number(demo_pack: Path) -> None:
    refused = env(demo_pack, "--memory", "20MiB", "--kv-tokens", 1024)
    assert refused.returncode == 1
    told = re.search(r"ask for (\d+) MiB", refused.stderr)
    assert told is not None
    # Room for a third of the experts, so that every byte is of use.
    memory = int(told[1]) + 16
    made = env(demo_pack, "--memory", f"{memory}MiB", "--kv-tokens", 1024, "--batch", 8)
    assert made.returncode == 0, made.stderr
    values = read(made.stdout)
    assert sum(int(values[name]) for name in LIMITS) == pytest.approx(memory * MIB, abs=MIB)
    assert int(values["ZIPMOE_ARENA_SIZE"]) < int(values["ZIPMOE_EXPERT_STORE_MEMORY"])
    with Pack.open(demo_pack) as pack:
        assert values["ZIPMOE_FINGERPRINT"] == pack.fingerprint
    assert (values["ZIPMOE_MODEL"], values["ZIPMOE_KV_TOKENS"], values["ZIPMOE_BATCH"]) == (str(demo_pack), "1024", "8")
    assert len(values["ZIPMOE_POOLS"].split(",")) == 3


def test_a_path_that_would_read_differently_is_refused(demo_pack: Path, tmp_path: Path) -> None:
    moved = tmp_path / "my model"
    moved.mkdir()
    for file in demo_pack.iterdir():
        (moved / file.name).symlink_to(file)
    refused = env(moved, "--memory", "1GiB")
    assert refused.returncode == 1
    assert "compose and systemd both read it" in refused.stderr
