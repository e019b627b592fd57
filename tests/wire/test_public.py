"""The public door: TLS that a client can check, a token that it must know, and the socket beside it without either."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trustme

from tests.wire.service import Echo
from zipmoe.client import Client, SyncClient
from zipmoe.errors import InvalidRequest, ServiceRestarting, Unauthenticated
from zipmoe.v1 import inference_pb2, inference_pb2_grpc
from zipmoe.wire.channel import connect
from zipmoe.wire.public import Public
from zipmoe.wire.server import serving

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificate and key of "localhost", that of who signed it, and a token."""
    folder = tmp_path_factory.mktemp("files")
    authority = trustme.CA()
    ours = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(folder / "authority"))
    ours.private_key_pem.write_to_path(str(folder / "key"))
    for part in ours.cert_chain_pems:
        part.write_to_path(str(folder / "certificate"), append=True)
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "empty").write_text("\n")
    return folder


@pytest.fixture
def address(unused_tcp_port: int) -> str:
    return f"localhost:{unused_tcp_port}"


def door(address: str, files: Path, *parts: str) -> Public:
    return Public(address, *(files / name if name in parts else None for name in ("certificate", "key", "token")))


@asynccontextmanager
async def open_at(public: Public, folder: Path) -> AsyncIterator[None]:
    """The echo behind a socket and this door."""
    register = partial(inference_pb2_grpc.add_InferenceServiceServicer_to_server, Echo())
    async with serving(f"unix:{folder}/echo.sock", register, public):
        yield


async def family(client: Client) -> str:
    async with client:
        return (await client.model()).family


async def test_with_tls_and_the_token_a_client_gets_in(files: Path, address: str, tmp_path: Path) -> None:
    def blocking() -> str:
        with SyncClient(address, certificate=files / "authority", token=TOKEN) as client:
            return client.model().family

    async with open_at(door(address, files, "certificate", "key", "token"), tmp_path):
        assert await family(Client(address, certificate=files / "authority", token=TOKEN)) == "echo"
        assert await asyncio.to_thread(blocking) == "echo"


@pytest.mark.parametrize(("token", "says"), [(None, "only who knows its token"), ("0123", "is not this service's")])
async def test_who_does_not_know_the_token_stays_out(
    files: Path, address: str, tmp_path: Path, token: str | None, says: str
) -> None:
    async with open_at(door(address, files, "token"), tmp_path):
        client = Client(address, token=token)
        with pytest.raises(Unauthenticated, match=says):
            await client.model()
        with pytest.raises(Unauthenticated, match=says):
            await anext(client.generate("x"))
        await client._channel.close()


async def test_the_socket_wants_neither(files: Path, address: str, tmp_path: Path) -> None:
    async with (
        open_at(door(address, files, "certificate", "key", "token"), tmp_path),
        connect(f"unix:{tmp_path}/echo.sock") as channel,
    ):
        stub: inference_pb2_grpc.InferenceServiceAsyncStub = inference_pb2_grpc.InferenceServiceStub(channel)
        assert (await stub.GetModel(inference_pb2.GetModelRequest())).family == "echo"


async def test_a_client_talks_to_nobody_whose_certificate_it_does_not_know(
    files: Path, address: str, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other"))
    async with (
        open_at(door(address, files, "certificate", "key"), tmp_path),
        Client(address, certificate=tmp_path / "other") as client,
    ):
        with pytest.raises(ServiceRestarting, match=r"is the certificate for this name\?"):
            await client.until_reachable(0.5)


async def test_the_files_can_be_named_in_the_environment(
    files: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZIPMOE_TLS_CERTIFICATE", str(files / "authority"))
    monkeypatch.setenv("ZIPMOE_TOKEN_FILE", str(files / "token"))
    async with open_at(door(address, files, "certificate", "key", "token"), tmp_path):
        assert await family(Client(address)) == "echo"
        assert await family(Client(f"unix:{tmp_path}/echo.sock")) == "echo"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("certificate", None, None), "TLS needs a certificate and its key"),
        (("certificate", "token", None), "no certificate and its key"),
        (("authority", "key", None), "no certificate and its key"),
        (("certificate", "gone", None), "cannot read .*gone: No such file"),
        ((None, None, "gone"), "cannot read .*gone: No such file"),
        ((None, None, "empty"), "holds no token"),
    ],
)
async def test_files_that_do_not_do_are_named(
    files: Path, address: str, tmp_path: Path, names: tuple[str | None, ...], says: str
) -> None:
    public = Public(address, *(files / name if name else None for name in names))
    with pytest.raises(InvalidRequest, match=says):
        async with open_at(public, tmp_path):
            pass


@pytest.mark.parametrize(
    ("address", "parts", "exposed"),
    [
        ("0.0.0.0:50051", ("token",), True),
        ("edge.local:50051", ("token",), True),
        ("0.0.0.0:50051", ("certificate", "key", "token"), False),
        ("0.0.0.0:50051", (), False),
        ("127.0.0.1:50051", ("token",), False),
        ("[::1]:50051", ("token",), False),
    ],
)
def test_a_token_that_others_can_read_is_warned_of(
    files: Path, caplog: pytest.LogCaptureFixture, address: str, parts: tuple[str, ...], exposed: bool
) -> None:
    assert door(address, files, *parts).secret() == (TOKEN if "token" in parts else None)
    assert ("can read it" in caplog.text) == exposed


async def test_a_client_warns_before_it_says_a_token_aloud() -> None:
    with pytest.warns(UserWarning, match="without TLS"):
        await Client("edge.local:50051", token=TOKEN)._channel.close()
    with warnings.catch_warnings(action="error"):
        await Client("localhost:50051", token=TOKEN)._channel.close()
