"""Fixtures for all tests: the demo checkpoint and packs of it."""

from pathlib import Path

import pytest
from hypothesis import settings

from zipmoe.pack.writer import pack

# Equal examples in every run, and time to think on a busy machine.
settings.load_profile("ci")

# The demo model has none. What it writes in a conversation means nothing; what it is given does.
CHAT_TEMPLATE = """{% for message in messages %}
{% if message.role not in ('system', 'user', 'assistant') %}
{{ raise_exception('nobody is a ' + message.role) }}
{% endif %}
# {{ message.role }}: {{ message.content }}
{% endfor %}
{% if add_generation_prompt %}
# assistant:
{%- endif %}
"""

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


@pytest.fixture(scope="session")
def chat_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with a chat template."""
    folder = tmp_path_factory.mktemp("chat")
    (folder / "checkpoint").mkdir()
    for file in filter(Path.is_file, DEMO.iterdir()):
        (folder / "checkpoint" / file.name).symlink_to(file)
    (folder / "checkpoint" / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    pack(folder / "checkpoint", folder / "chat.zipmoe")
    return folder / "chat.zipmoe"
