# `make demo` and `make test` do everything from a bare Debian 12. `make help` lists the rest.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/suture
export LIBTORCH ?= $(CACHE)/libtorch-2.11.0
export SUTURE_DEMO_MODEL ?= $(CACHE)/models/SmolLM2-135M-Instruct.Q4_1.gguf
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
JOBS ?= $(shell nproc)
SUTURE := build/release/suture
SOURCES = $(shell git ls-files '*.h' '*.cpp')

.DEFAULT_GOAL := build
.PHONY: help setup build test asan demo bench format tidy clean

help:
	@echo 'make demo    edit, extract, patch and audit a real model; the report lands in out/demo/audit'
	@echo 'make test    build with warnings as errors and run every test'
	@echo 'make build   build/release/suture (the default)'
	@echo 'make setup   packages, Rust, LibTorch, demo model; the targets above call it'
	@echo 'make asan    the tests under the address and undefined-behaviour sanitizers'
	@echo 'make bench   ten single edits; bench/README.md has the comparison with transformers'
	@echo 'make tidy    clang-tidy over lib and tools; make format: clang-format in place'
	@echo 'make clean   remove build/; downloads stay in $(CACHE)'

setup:
	@./scripts/setup.sh

build/%/build.ninja: | setup
	cmake --preset $*

build: setup build/release/build.ninja
	cmake --build build/release --parallel $(JOBS) --target suture

# Tests run two at a time with one thread each: LibTorch's threads would wait for each other.
test: setup build/dev/build.ninja
	cmake --build build/dev --parallel $(JOBS)
	OMP_NUM_THREADS=1 ctest --test-dir build/dev --output-on-failure --parallel 2

asan: setup build/asan-ubsan/build.ninja
	cmake --build build/asan-ubsan --parallel $(JOBS)
	OMP_NUM_THREADS=1 ctest --test-dir build/asan-ubsan --output-on-failure --parallel 2

demo: build
	$(SUTURE) run configs/demo.yaml --out out/demo

bench: build
	bench/edit.sh

format:
	@command -v clang-format >/dev/null || ./scripts/setup.sh tools
	clang-format -i $(SOURCES)

tidy: setup build/dev/build.ninja
	@command -v clang-tidy >/dev/null || ./scripts/setup.sh tools
	cmake --build build/dev --parallel $(JOBS) --target suture
	git ls-files 'lib/*.cpp' 'tools/*.cpp' | xargs -P $(JOBS) -n 4 clang-tidy --quiet -p build/dev

clean:
	rm -rf build
