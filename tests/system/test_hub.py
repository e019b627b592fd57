"""The `zipmoe` command with a model that is on a hub: by its id alone, to text that it writes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.fake import FakeHub, fake_hub
from tests.system.test_command import run, up, zipmoe

__all__ = ["run"]

NAME = "org/demo-moe"


@pytest.fixture
def hub(demo_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        hub.repository(NAME).commit(demo_checkpoint)
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
        monkeypatch.setenv("ZIPMOE_CACHE", str(tmp_path / "zipmoe"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield hub


def test_up_by_its_id(hub: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with up(NAME, run) as process:
        assert zipmoe("generate", "def parse_args(", "--max-tokens", 4, "--run", run).stdout.strip()
        process.terminate()
        assert process.wait(30) == 0
    assert hub.asked["GET model.safetensors"] == 1

    # From now on, nobody is needed but for comparing, and that is in the cache.
    hub.dead = True
    proved = zipmoe("verify", NAME)
    assert proved.returncode == 0
    assert "equal the hashes recorded" in proved.stdout
    lost = zipmoe("verify", NAME, "--against", NAME)
    assert lost.returncode == 1
    assert "cannot be fetched from" in lost.stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    compared = zipmoe("verify", NAME, "--against", NAME)
    assert compared.returncode == 0
    assert f"equal those of {NAME}, bit by bit" in compared.stdout


def test_mistakes_are_one_line(hub: FakeHub, demo_checkpoint: Path, tmp_path: Path) -> None:
    for arguments, says in (
        (("up", "org/none"), f"org/none is no folder here, and no model at {hub.address}"),
        (("up", str(demo_checkpoint)), f"is a checkpoint; pack it first: zipmoe pack {demo_checkpoint} demo.zipmoe"),
        (("pack", str(demo_checkpoint)), f"say where to: zipmoe pack {demo_checkpoint} demo.zipmoe"),
        (("pack", str(demo_checkpoint), str(tmp_path / "out"), "--free"), "--free is for what was downloaded"),
    ):
        failed = zipmoe(*arguments)
        assert failed.returncode == 1
        assert says in failed.stderr
        assert "Traceback" not in failed.stderr
        assert failed.stderr.strip().splitlines()[-1].startswith("zipmoe: ")
