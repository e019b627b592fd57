"""Health: an exit code for who watches a service, from a process of its own."""

import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.wire.service import Echo
from zipmoe.v1 import inference_pb2_grpc
from zipmoe.wire.server import serving


async def asked(run: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zipmoe.wire.health", "inference", "--run", str(run)]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)


async def test_a_service_that_serves_is_well(tmp_path: Path) -> None:
    register = partial(inference_pb2_grpc.add_InferenceServiceServicer_to_server, Echo())
    async with serving(f"unix:{tmp_path}/inference.sock", register):
        found = await asked(tmp_path)
    assert (found.returncode, found.stderr) == (0, "")


async def test_nobody_there_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    found = await asked(tmp_path)
    assert found.returncode == 1
    assert found.stderr.startswith(f"unix:{tmp_path}/inference.sock: UNAVAILABLE")
    assert found.stderr.count("\n") == 1
