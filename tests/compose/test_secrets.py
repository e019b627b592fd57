"""TLS and a token: with compose.tls.yaml, the published port is for who knows both."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.compose.project import Project
from zipmoe.client import Client
from zipmoe.errors import ServiceRestarting, Unauthenticated

TOKEN = "a-token-for-a-test"


@pytest.fixture(scope="module")
def authority(project: Project) -> Iterator[Path]:
    """Inference alone is started anew, with the files; and in the end without them."""
    folder = project.folder
    signer = trustme.CA()
    ours = signer.issue_cert("localhost")
    signer.cert_pem.write_to_path(str(folder / "authority"))
    ours.private_key_pem.write_to_path(str(folder / "key"))
    ours.cert_chain_pems[0].write_to_path(str(folder / "certificate"))
    (folder / "token").write_text(TOKEN + "\n")
    for name in ("key", "certificate", "token"):
        os.chown(folder / name, 0, 10001)
        (folder / name).chmod(0o640)
    up = ("up", "-d", "--no-deps", "--no-build", "inference")
    project.compose(
        *up,
        files=("compose.tls.yaml",),
        ZIPMOE_TLS_CERTIFICATE=str(folder / "certificate"),
        ZIPMOE_TLS_KEY=str(folder / "key"),
        ZIPMOE_TOKEN_FILE=str(folder / "token"),
    )
    yield folder / "authority"
    project.compose(*up)


async def test_who_knows_both_is_served(project: Project, authority: Path) -> None:
    async with Client(project.address, certificate=authority, token=TOKEN) as client:
        await client.until_reachable(60)
        assert [piece async for piece in client.generate("import os", max_tokens=3)]


async def test_another_token_is_refused(project: Project, authority: Path) -> None:
    async with Client(project.address, certificate=authority, token="another") as client:
        await client.until_reachable(60)
        with pytest.raises(Unauthenticated, match="is not this service's"):
            await anext(client.generate("import os", max_tokens=3))


@pytest.mark.usefixtures("authority")
async def test_nothing_is_said_in_the_clear(project: Project) -> None:
    async with Client(project.address) as client:
        with pytest.raises(ServiceRestarting, match="Is it TLS that is spoken there"):
            await client.until_reachable(1)
    project.until_healthy("inference")
