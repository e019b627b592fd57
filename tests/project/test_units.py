"""Units: systemd understands them, and they start what is there."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.project.modules import REPOSITORY

UNITS = sorted((REPOSITORY / "systemd").iterdir())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        # Where they are installed, Python is there; here, it is elsewhere.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/zipmoe/bin/python", sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_units_start_the_three_services() -> None:
    started = {name for unit in UNITS for name in re.findall(r"python -m (\S+)", unit.read_text())}
    assert started == {"zipmoe.expert_store", "zipmoe.scheduler", "zipmoe.inference"}
    assert all(find_spec(name) for name in started)
