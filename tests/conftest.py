"""Fixtures for all tests: the demo checkpoint and packs of it."""

from pathlib import Path

import pytest

from zipmoe.pack.writer import pack

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
