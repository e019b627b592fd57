#!/usr/bin/env bash
# Makes the committed stubs from the protos. Usage: proto/generate.sh [OUT], from anywhere.
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-.}
python=${PYTHON:-python3}
PATH="$(dirname "$(command -v "$python")"):$PATH" "$python" -m grpc_tools.protoc -I. \
  --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" --mypy_grpc_out="quiet:$out" \
  --descriptor_set_out="$out/zipmoe/v1/descriptors.binpb" --include_imports zipmoe/v1/*.proto
