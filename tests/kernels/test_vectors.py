"""The kernels on other machines: on ARM, and on x86-64 without AVX-512 or AVX2, emulated. All say the same bits."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "services" / "zipmoe" / "kernels" / "src"
FLAGS = ("-std=gnu++20", "-O3", "-Wall", "-Wextra", "-Werror", "-pthread", "-static", f"-I{SOURCES}")
PACKAGES = {
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "qemu-aarch64": "qemu-user",
    "qemu-x86_64": "qemu-user",
}
# Of everything that is exact. It changes only with the form itself, or with what vectors.cpp tries.
DIGEST = "52ba023b994f8418\n"


def compiled(compiler: str, folder: Path) -> Path:
    binary = folder / compiler
    plain = [path for path in SOURCES.glob("*.cpp") if not path.name.startswith("module")]
    subprocess.run([compiler, *FLAGS, Path(__file__).with_name("vectors.cpp"), *plain, "-o", binary], check=True)
    return binary


def said(*command: str | Path) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("g++", tmp_path_factory.mktemp("vectors"))


def needs(*tools: str) -> None:
    if missing := [PACKAGES[tool] for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"NOT tested: apt-get install -y {' '.join(missing)}")


def test_here(native: Path) -> None:
    assert said(native) == DIGEST


def test_on_arm(tmp_path: Path) -> None:
    needs("aarch64-linux-gnu-g++", "qemu-aarch64")
    assert said("qemu-aarch64", compiled("aarch64-linux-gnu-g++", tmp_path)) == DIGEST


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the levels are those of x86-64")
@pytest.mark.parametrize("cpu", ["qemu64", "Haswell"])
def test_on_older_cpus(native: Path, cpu: str) -> None:
    needs("qemu-x86_64")
    assert said("qemu-x86_64", "-cpu", cpu, native) == DIGEST
