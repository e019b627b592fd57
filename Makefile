# make run     everything from a fresh clone to a model that writes, in one command
# make test    the whole test suite        make check   style, types
# make proto   the stubs again             make bench   the benchmarks
# make test-compose   the services in containers: builds the image and kills them one by one
# make bench-peers   against llama.cpp, transformers with accelerate, and ZipMoE without its mechanisms (as root)
PYTHON ?= python3
bin := .venv/bin
source := $(wildcard services/zipmoe/kernels/src/*) CMakeLists.txt pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help run test test-compose check proto bench bench-peers clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# //p' Makefile

run: .run/demo.zipmoe/manifest
	$(bin)/python examples/demo.py .run/demo.zipmoe

test: .venv/dev
	$(bin)/python -m pytest $(TESTS)

test-compose: .venv/dev .run/demo.zipmoe/manifest
	tests/compose/run

check: .venv/dev
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy proto client services tests examples benchmarks models/demo docker

proto: .venv/dev
	PYTHON=$(abspath $(bin)/python) proto/generate.sh

bench: .venv/peers .run/demo.zipmoe/manifest
	$(bin)/python -m benchmarks.kernels
	$(bin)/python -m benchmarks.walk
	$(bin)/python -m benchmarks.scheduler
	$(bin)/python -m benchmarks.prediction
	$(bin)/python -m benchmarks.forecast
	$(bin)/python -m benchmarks.batching
	$(bin)/python -m benchmarks.overload
	$(bin)/python -m benchmarks.resident

# More than an hour, by itself. An interrupted run goes on: make bench-peers PEERS=--again starts over.
bench-peers: .venv/peers
	$(bin)/python -m benchmarks.peers $(PEERS)

# llama.cpp, compiled for this machine: some ten minutes on two cores.
.venv/peers: .venv/dev
	CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF" \
	  $(bin)/pip install -e '.[peers]'
	@touch $@

clean:
	rm -rf .run build .venv

.run/demo.zipmoe/manifest: models/demo/model.safetensors $(wildcard services/zipmoe/pack/*.py) .venv/serve
	rm -rf .run/demo.zipmoe .run/demo.zipmoe.partial
	$(bin)/zipmoe pack models/demo .run/demo.zipmoe
	$(bin)/zipmoe verify .run/demo.zipmoe --against models/demo

# The kernels are compiled here; Python's own sources are used where they lie.
.venv/serve: $(source)
	@command -v c++ >/dev/null || { echo "a C++ compiler is needed: apt-get install g++ make"; exit 1; }
	test -x $(bin)/python || $(PYTHON) -m venv .venv
	$(bin)/pip install -e '.[serve]'
	@touch $@

.venv/dev: .venv/serve
	$(bin)/pip install -e '.[dev]'
	@touch $@
