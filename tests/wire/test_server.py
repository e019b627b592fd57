"""Serving: healthy from the first moment, private to its user and group, and gone with an honest exit code."""

import asyncio
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests.wire.service import Echo, Stub, echoing
from zipmoe.errors import InvalidRequest, ServiceRestarting
from zipmoe.v1 import inference_pb2, inference_pb2_grpc
from zipmoe.wire.channel import connect
from zipmoe.wire.server import EXIT_RESTART, serving
from zipmoe.wire.status import raised

RUN = """
import asyncio
from zipmoe.errors import InvalidRequest, StaleEpoch
from zipmoe.wire.server import run

async def serve():
    {body}

run("test", serve())
"""


async def test_health_says_serving_at_once(tmp_path: Path) -> None:
    async with echoing(tmp_path, Echo()), connect(f"unix:{tmp_path}/echo.sock") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(HealthCheckRequest())
        assert answer.status == HealthCheckResponse.SERVING


async def test_the_socket_is_for_user_and_group_alone(tmp_path: Path) -> None:
    async with echoing(tmp_path, Echo()):
        assert stat.S_IMODE((tmp_path / "echo.sock").stat().st_mode) == 0o660


async def test_stopping_lets_an_answer_finish(tmp_path: Path) -> None:
    echo = Echo()
    async with connect(f"unix:{tmp_path}/echo.sock") as channel:
        async with echoing(tmp_path, echo):
            stub: Stub = inference_pb2_grpc.InferenceServiceStub(channel)
            call = stub.Tokenize(inference_pb2.TokenizeRequest())
            await asyncio.wait_for(echo.asked.wait(), 10)
            asyncio.get_running_loop().call_later(0.05, echo.told.set)
        assert list((await call).tokens) == [1, 2]


async def test_a_peer_that_is_away_is_restarting(tmp_path: Path) -> None:
    async with connect(f"unix:{tmp_path}/nobody.sock") as channel:
        stub: Stub = inference_pb2_grpc.InferenceServiceStub(channel)
        with pytest.raises(ServiceRestarting), raised():
            await stub.GetModel(inference_pb2.GetModelRequest())


async def test_an_address_that_cannot_be_listened_at_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=f"cannot listen at unix:{tmp_path}/none/echo.sock"):
        async with serving(f"unix:{tmp_path}/none/echo.sock", lambda _: None):
            pass


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("raise InvalidRequest('--pack /nowhere is no pack')", 1, "--pack /nowhere is no pack\n"),
        ("raise StaleEpoch('attach again')", EXIT_RESTART, "attach again\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(body: str, code: int, says: str) -> None:
    ended = subprocess.run([sys.executable, "-c", RUN.format(body=body)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == code
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.endswith(says)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_told_to_stop_unwinds_and_exits_0(number: signal.Signals) -> None:
    body = "\n    ".join(
        ["try:", "    print('ready', flush=True)", "    await asyncio.Event().wait()", "finally: print('unwound')"]
    )
    with subprocess.Popen([sys.executable, "-c", RUN.format(body=body)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "unwound\n"
    assert process.returncode == 0
