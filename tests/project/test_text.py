"""Text: what is in the repository holds on any machine, not only on the one where it was written."""

import subprocess

import pytest

from tests.project.modules import REPOSITORY

# Written in two parts, so that this file does not name them itself.
MACHINE_PATHS = ["/wo" + "rk/", "/opt/wh" + "eels", "/opt/py" + "pi"]


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a git checkout")
def test_no_file_names_the_paths_of_one_machine() -> None:
    words = [option for path in MACHINE_PATHS for option in ("-e", path)]
    found = subprocess.run(
        ["git", "grep", "--fixed-strings", "--line-number", "-I", *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert found.returncode in (0, 1), found.stderr
    assert found.stdout == ""
