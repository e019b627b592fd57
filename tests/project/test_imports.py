"""Imports run one way, as sections 3 and 6 of the design draw them; heavy packages stay where they are needed."""

import subprocess
import sys

import pytest

from tests.project.modules import REPOSITORY, ROOTS, Module, modules, within

MODULES = modules()
SERVICES = ("zipmoe.expert_store", "zipmoe.scheduler", "zipmoe.inference")

# What of zipmoe each package may import beside itself.
BELOW: dict[str, tuple[str, ...]] = {
    "zipmoe.v1": (),
    "zipmoe.errors": (),
    "zipmoe.client": ("zipmoe.errors", "zipmoe.v1"),
    "zipmoe.arena": ("zipmoe.errors",),
    "zipmoe.wire": ("zipmoe.errors",),
    "zipmoe.kernels": (),
    "zipmoe.pack": ("zipmoe.errors", "zipmoe.kernels"),
    "zipmoe.expert_store": ("zipmoe.errors", "zipmoe.v1", "zipmoe.arena", "zipmoe.wire", "zipmoe.pack"),
    "zipmoe.scheduler": ("zipmoe.errors", "zipmoe.v1", "zipmoe.arena", "zipmoe.wire"),
    "zipmoe.inference": (
        "zipmoe.errors",
        "zipmoe.v1",
        "zipmoe.arena",
        "zipmoe.wire",
        "zipmoe.pack",
        "zipmoe.kernels",
        "zipmoe.routing",
    ),
    # It writes what a pack is made of.
    "zipmoe.synth": ("zipmoe.errors", "zipmoe.pack"),
    "zipmoe.routing": ("zipmoe.errors",),
    # It replays the scheduler's choices, on routing like that which a checkpoint is made to have.
    "zipmoe.simulate": ("zipmoe.errors", "zipmoe.arena", "zipmoe.routing", "zipmoe.scheduler", "zipmoe.synth"),
    "zipmoe.plan": (
        "zipmoe.errors",
        "zipmoe.arena",
        "zipmoe.pack",
        "zipmoe.routing",
        "zipmoe.scheduler",
        "zipmoe.simulate",
    ),
    # It starts services as commands, as everybody does, and asks them over the wire.
    "zipmoe.profile": (
        "zipmoe.errors",
        "zipmoe.v1",
        "zipmoe.arena",
        "zipmoe.wire",
        "zipmoe.pack",
        "zipmoe.kernels",
        "zipmoe.plan",
    ),
    "zipmoe.hub": ("zipmoe.errors", "zipmoe.pack"),
    "zipmoe.cli": ("zipmoe",),
}

PURE = (
    "zipmoe.scheduler.policy",
    "zipmoe.scheduler.residency",
    "zipmoe.scheduler.order",
    "zipmoe.routing",
    "zipmoe.simulate",
    "zipmoe.plan",
    "zipmoe.expert_store.size",
    "zipmoe.pack.codec",
    "zipmoe.arena.layout",
    "zipmoe.inference.model",
    "zipmoe.inference.chat",
    "zipmoe.inference.sampling",
    "zipmoe.hub",
)


def package(module: Module) -> str:
    return ".".join(module.name.split(".")[:2])


def test_every_package_has_a_rule() -> None:
    assert {package(module) for module in MODULES} == set(BELOW)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_downwards_alone(module: Module) -> None:
    allowed = (package(module), *BELOW[package(module)])
    wrong = {name for name in module.imports if within(name, ("zipmoe",)) and not within(name, allowed)}
    assert not wrong


@pytest.mark.parametrize("module", [module for module in MODULES if within(module.name, ("zipmoe.v1",))], ids=str)
def test_stubs_import_the_runtime_alone(module: Module) -> None:
    foreign = {name for name in module.imports if not within(name, ("zipmoe.v1", "grpc", "google"))}
    assert all(name.split(".")[0] in sys.stdlib_module_names for name in foreign), foreign


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_neither_waits_nor_calls(name: str) -> None:
    found = [module for module in MODULES if within(module.name, (name,))]
    assert found
    for module in found:
        assert not {imported for imported in module.imports if within(imported, ("grpc", "asyncio"))}, module


def test_torch_is_inferences_alone() -> None:
    users = {package(module) for module in MODULES if any(within(name, ("torch",)) for name in module.imports)}
    assert users == {"zipmoe.inference"}


def test_only_what_downloads_knows_the_hubs_library() -> None:
    libraries = ("huggingface_hub", "httpx2")
    users = {module.name for module in MODULES if any(within(name, libraries) for name in module.imports)}
    assert users == {"zipmoe.hub.checkpoints", "zipmoe.hub.failure"}


@pytest.mark.parametrize("root", ROOTS)
def test_nobody_owns_the_namespace(root: str) -> None:
    assert (REPOSITORY / root / "zipmoe").is_dir()
    assert not (REPOSITORY / root / "zipmoe" / "__init__.py").exists()


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("zipmoe.expert_store.worker", {"torch", "numpy", "grpc", "asyncio"}),
        ("zipmoe.expert_store.__main__", {"torch", "numpy"}),
        ("zipmoe.scheduler.__main__", {"torch", "numpy"}),
        (
            "zipmoe.client",
            {"torch", "numpy", "zipmoe.wire", "zipmoe.arena", "zipmoe.pack", "zipmoe.kernels", *SERVICES},
        ),
        ("zipmoe.cli.main", {"torch", "huggingface_hub"}),
        # A pack that is here is found without it.
        ("zipmoe.cli.source", {"torch", "huggingface_hub"}),
        ("zipmoe.cli.up", {"torch", "huggingface_hub"}),
    ],
)
def test_importing_brings_nothing_heavy(module: str, without: set[str]) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert without.isdisjoint(imported.stdout.split())
