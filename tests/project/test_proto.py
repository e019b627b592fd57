"""Protos: the committed stubs are made of them, and they are in the style that Buf calls STANDARD."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from tests.project.modules import REPOSITORY

PROTO = REPOSITORY / "proto"
SNAKE, PASCAL = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*"), re.compile(r"([A-Z][a-z0-9]*)+")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    """Our protos, with their comments."""
    described = tmp_path_factory.mktemp("described") / "set.binpb"
    ours = [str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto")]
    options = ["-I.", "--include_source_info", f"--descriptor_set_out={described}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *ours], cwd=PROTO, check=True)
    return list(FileDescriptorSet.FromString(described.read_bytes()).file)


def messages(file: FileDescriptorProto) -> Iterator[DescriptorProto]:
    todo = list(file.message_type)
    while todo:
        message = todo.pop()
        todo += message.nested_type
        yield message


def enums(file: FileDescriptorProto) -> list[EnumDescriptorProto]:
    return [*file.enum_type, *(enum for message in messages(file) for enum in message.enum_type)]


def comments(file: FileDescriptorProto) -> set[tuple[int, ...]]:
    """Paths of what has a comment before it."""
    return {tuple(place.path) for place in file.source_code_info.location if place.leading_comments.strip()}


def services(files: list[FileDescriptorProto]) -> list[ServiceDescriptorProto]:
    return [service for file in files for service in file.service]


def test_the_committed_stubs_are_fresh(tmp_path: Path) -> None:
    (tmp_path / "zipmoe" / "v1").mkdir(parents=True)
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([PROTO / "generate.sh", tmp_path], env=environment, check=True, timeout=60)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {
        path.relative_to(PROTO): path.read_bytes()
        for pattern in ("*_pb2*.py", "*_pb2*.pyi", "descriptors.binpb")
        for path in PROTO.rglob(pattern)
    }
    assert sorted(made) == sorted(kept)
    assert [str(path) for path in made if made[path] != kept[path]] == [], "run proto/generate.sh"


def test_files_lie_where_their_package_says(files: list[FileDescriptorProto]) -> None:
    assert files
    for file in files:
        assert file.package == "zipmoe.v1"
        assert Path(file.name).parent == Path("zipmoe/v1")
        assert file.syntax == "proto3"


def test_services_are_called_so(files: list[FileDescriptorProto]) -> None:
    assert {service.name for service in services(files)} == {
        "ExpertStoreService",
        "SchedulerService",
        "InferenceService",
    }


def test_each_rpc_has_a_request_and_a_response_of_its_own(files: list[FileDescriptorProto]) -> None:
    for service in services(files):
        for method in service.method:
            assert PASCAL.fullmatch(method.name)
            assert method.input_type == f".zipmoe.v1.{method.name}Request"
            assert method.output_type == f".zipmoe.v1.{method.name}Response"


def test_each_service_and_rpc_says_what_it_does(files: list[FileDescriptorProto]) -> None:
    for file in files:
        commented = comments(file)
        for number, service in enumerate(file.service):
            assert (6, number) in commented, service.name
            for place, method in enumerate(service.method):
                assert (6, number, 2, place) in commented, method.name


def test_enums_begin_unspecified_and_prefix_their_values(files: list[FileDescriptorProto]) -> None:
    found = [enum for file in files for enum in enums(file)]
    assert found
    for enum in found:
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
        assert enum.value[0].name == prefix + "UNSPECIFIED"
        assert enum.value[0].number == 0
        assert all(value.name.startswith(prefix) and value.name.isupper() for value in enum.value), enum.name


def test_names_are_cased_as_usual(files: list[FileDescriptorProto]) -> None:
    for file in files:
        for message in messages(file):
            assert PASCAL.fullmatch(message.name)
            for field in message.field:
                assert SNAKE.fullmatch(field.name), f"{message.name}.{field.name}"
        assert SNAKE.fullmatch(Path(file.name).stem)


def test_field_numbers_have_no_holes(files: list[FileDescriptorProto]) -> None:
    for file in files:
        for message in messages(file):
            numbers = sorted(field.number for field in message.field)
            reserved = {number for gap in message.reserved_range for number in range(gap.start, gap.end)}
            assert set(numbers) | reserved == set(range(1, len(numbers) + len(reserved) + 1)), message.name


def test_every_file_that_is_imported_is_used(files: list[FileDescriptorProto]) -> None:
    home = {f".{file.package}.{message.name}": file.name for file in files for message in file.message_type}
    home |= {f".{file.package}.{enum.name}": file.name for file in files for enum in file.enum_type}
    home |= {".google.protobuf.Duration": "google/protobuf/duration.proto"}
    for file in files:
        used = {home.get(field.type_name) for message in messages(file) for field in message.field}
        assert set(file.dependency) <= used, file.name
