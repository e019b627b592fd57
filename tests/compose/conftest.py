"""Fixtures for tests in containers: collected where tests/compose/run has made an engine and an image ready."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.project import Project
from zipmoe.cli.containers import Limits

collect_ignore_glob = [] if "ZIPMOE_TEST_IMAGE" in os.environ else ["test_*.py"]

# Beside the least that would do: experts that fit, of the demo model's 128.
ROOM = 12 << 20


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """All three, started in the order in which they wait longest for one another."""
    pack = Path(os.environ["ZIPMOE_TEST_PACK"]).resolve()
    project = Project(os.environ["ZIPMOE_TEST_IMAGE"], pack, tmp_path_factory.mktemp("compose"))
    project.plan(ROOM)
    try:
        for service in ("inference", "scheduler", "expert_store"):
            project.compose("up", "-d", "--no-deps", "--no-build", service)
        yield project
    except BaseException:
        print(project.compose("logs", "--no-color"))
        raise
    finally:
        project.compose("down", "--volumes")
    assert not project.left_behind()


@pytest.fixture(scope="session")
def limits(project: Project) -> Limits:
    return Limits(*(int(project.settings[f"ZIPMOE_{name.upper()}_MEMORY"]) for name in project.services))
