"""The tiny model, made once."""

from pathlib import Path

import pytest

from zipmoe.synth.preset import preset
from zipmoe.synth.writer import write


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "tiny"
    write(preset("tiny"), 0, folder, lambda *_: None)
    return folder
