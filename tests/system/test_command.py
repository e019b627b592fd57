"""The `zipmoe` command, as a person uses it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.pack.checkpoints import random_words, write
from zipmoe.arena import arena
from zipmoe.wire.places import Places

COMMAND = str(Path(sys.executable).with_name("zipmoe"))


@pytest.fixture
def run() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="zipmoe-", dir="/tmp") as folder:
        yield Path(folder)
        # Who is killed leaves its arena, for the next one to find warm.
        arena.remove(Places.under(Path(folder)).arena)


@contextmanager
def up(pack: Path | str, run: Path, *options: object) -> Iterator[subprocess.Popen[str]]:
    """`zipmoe up`, ready."""
    command = [COMMAND, "up", str(pack), "--arena-size", "30%", "--run", str(run), *map(str, options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert any(line.startswith("ready at") for line in process.stderr), "it ended before it was ready"
        yield process
    finally:
        process.kill()
        process.communicate()


def zipmoe(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def services(run: Path) -> set[str]:
    """Process ids of everything that was started with this run folder."""
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.fsencode(run) in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.add(entry)
        except OSError:
            continue
    return found


def test_up_generate_status_stop(demo_pack: Path, run: Path) -> None:
    with up(demo_pack, run) as process:
        written = zipmoe("generate", "def parse_args(", "--max-tokens", 8, "--run", run)
        assert written.returncode == 0
        assert written.stdout.strip()
        assert "8 tokens at" in written.stderr
        refused = zipmoe("chat", "--run", run)
        assert refused.returncode == 1
        assert "has no chat template" in refused.stderr
        shown = zipmoe("status", "--run", run)
        assert shown.returncode == 0
        assert "hit rate" in shown.stdout
        process.terminate()
        assert process.wait(30) == 0
    assert not services(run)
    assert not Places.under(run).arena.exists()
    assert not Places.under(run).arena.parent.exists()


def test_a_checkpoint_without_a_tokenizer_is_packed_and_said_not_to_be_of_use(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoint", random_words(3))
    (checkpoint / "tokenizer.json").unlink()
    packed = zipmoe("pack", checkpoint, tmp_path / "pack")
    assert packed.returncode == 0
    assert "it has no tokenizer.json, and cannot be served" in packed.stderr
    assert zipmoe("verify", tmp_path / "pack", "--against", checkpoint).returncode == 0


def test_who_is_elsewhere_needs_the_certificate_and_the_token(
    demo_pack: Path, run: Path, tmp_path: Path, unused_tcp_port: int
) -> None:
    authority, token, address = trustme.CA(), tmp_path / "token", f"localhost:{unused_tcp_port}"
    ours = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "authority"))
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both"))
    token.write_text("0123456789abcdef\n")
    door = ("--listen", address, "--tls-certificate", tmp_path / "both", "--tls-key", tmp_path / "both")
    ask = ("generate", "import os", "--max-tokens", 1, "--address", address, "--certificate", tmp_path / "authority")
    with up(demo_pack, run, *door, "--token", token):
        assert zipmoe(*ask, "--token", token).returncode == 0
        refused = zipmoe(*ask)
        assert refused.returncode == 1
        assert "answers only who knows its token" in refused.stderr
        # On the device, the socket is as it was.
        assert zipmoe("generate", "import os", "--max-tokens", 1, "--run", run).returncode == 0


def test_a_second_up_leaves_the_first_alone(demo_pack: Path, run: Path) -> None:
    with up(demo_pack, run) as process:
        second = zipmoe("up", demo_pack, "--run", run)
        assert second.returncode == 1
        assert f"in use by process {process.pid}" in second.stderr
        assert zipmoe("generate", "x", "--max-tokens", 1, "--run", run).returncode == 0


def test_killed_up_takes_its_services_along_and_comes_back_warm(demo_pack: Path, run: Path) -> None:
    with up(demo_pack, run) as process:
        assert zipmoe("generate", "import os", "--max-tokens", 1, "--run", run).returncode == 0
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 30
        while services(run):
            assert time.monotonic() < deadline, "services outlive their supervisor"
    with up(demo_pack, run) as process:
        assert re.search(r"[1-9]\d* experts (as BF16|packed)", zipmoe("status", "--run", run).stdout)
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pack", "{tmp}", "{tmp}/out"), "config.json"),
        (("up", "{tmp}"), "is not a pack"),
        (("up", "{pack}", "--arena-size", "much"), "is no size"),
        (("up", "{pack}", "--arena-size", "1KiB"), "too small"),
        (("pack", "{demo}", "{tmp}/out", "--codec", "zip"), "codec 'zip' is unknown"),
        (("status", "--run", "{tmp}"), "scheduler"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], says: str, demo_pack: Path, demo_checkpoint: Path, tmp_path: Path
) -> None:
    filled = [part.format(tmp=tmp_path, pack=demo_pack, demo=demo_checkpoint) for part in arguments]
    failed = zipmoe(*filled)
    assert failed.returncode == 1
    assert says in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stderr.strip().splitlines()[-1].startswith("zipmoe: ")
