"""Fixtures for all tests: the demo checkpoint and packs of it."""

from pathlib import Path

import pytest
from hypothesis import settings

from zipmoe.pack.writer import pack

# Equal examples in every run, and time to think on a busy machine.
settings.load_profile("ci")

DEMO = Path(__file__).parent.parent / "models" / "demo"


@pytest.fixture(scope="session")
def demo_checkpoint() -> Path:
    return DEMO


@pytest.fixture(scope="session")
def demo_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model, packed once with zstd."""
    path = tmp_path_factory.mktemp("packs") / "demo.zipmoe"
    pack(DEMO, path)
    return path
