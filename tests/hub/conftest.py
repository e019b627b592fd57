"""A hub of one's own for each test, with a small model on it; a cache of one's own as well."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants, file_download

from tests.hub.fake import FakeHub, fake_hub
from tests.pack.checkpoints import random_words, write
from zipmoe.hub import checkpoints

NAME = "org/small-moe"
SHARDS = 3


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as repositories have them: with other files, and the weights once more in another format."""
    folder = write(tmp_path_factory.mktemp("small"), random_words(5), shards=SHARDS)
    (folder / "README.md").write_text("A model.")
    (folder / "pytorch_model.bin").write_bytes(bytes(5000))
    (folder / "consolidated.safetensors").write_bytes(bytes(5000))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "huggingface"


@pytest.fixture
def hub(tmp_path: Path, cache: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("ZIPMOE_CACHE", str(tmp_path / "zipmoe"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # A connection that broke is tried again after a second, five times.
    monkeypatch.setattr(file_download, "time", _Impatient())
    monkeypatch.setattr(checkpoints, "PAUSES_SECONDS", ())
    with fake_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        place = f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
        hub.repository(NAME).commit(small)
        yield hub
    huggingface_hub.close_session()


class _Impatient:
    def sleep(self, seconds: float) -> None:
        pass
