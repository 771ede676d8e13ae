PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLAT := build/flat

# What tests and linters need, each release and file by its digest. `make LOCK= test` takes the newest of all instead
LOCK := .ci/dev.txt
TOOLS := build/tools/bin
LOCKING = UV_CUSTOM_COMPILE_COMMAND='make lock' $(TOOLS)/uv pip compile \
	--quiet --upgrade --generate-hashes --python-version 3.11

# Tests that must give the same under any NumPy, and those that every CPU must pass
KERNEL_TESTS := $(wildcard tests/test_kernel*.py) tests/test_membrane.py
NUMPY_TESTS ?= $(KERNEL_TESTS) tests/test_exactness.py tests/test_spikformer.py \
	tests/test_synthetic.py tests/test_philox.py
CPU_TESTS ?= $(NUMPY_TESTS) tests/test_json.py
AVX2 = NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx2

.PHONY: demo test test-compiled test-plain lint accuracy accuracy-integers wheel check-wheel sbom lock audit test-lowest test-newest \
	test-numpy-versions test-avx2 test-aarch64 test-opponents test-boundscheck test-faults test-reach test-reach-short fuzz \
	fuzz-figures fuzz-guided test-networks bench bench-quick bench-avx2 bench-eval experiments docs check-site docs-slow clean

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(BIN)/.dev: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
ifeq ($(LOCK),)
	$(BIN)/pip install --quiet --editable '.[dev,docs]'
else
	$(BIN)/pip install --quiet --require-hashes --requirement $(LOCK)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
endif
	touch $(BIN)/.installed $@

demo: $(BIN)/.installed
	$(BIN)/evsim demo --save demo-out
	$(BIN)/evsim demo

# processes that share the tests: each starts with a half of the files; `make PROCESSES=0 test` runs all in one
PROCESSES ?= 2
SPREAD = -n $(PROCESSES) --dist worksteal

test: test-compiled test-plain

test-compiled: $(BIN)/.dev
	$(BIN)/python -m pytest $(SPREAD)

# kernels as plain Python, without JIT
test-plain: $(BIN)/.dev
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest $(KERNEL_TESTS)

# converters/ and cli/ are evsim.converters and evsim.cli once installed: types and floors are checked on such a copy;
# build/lib goes first, or setuptools would pack modules that are gone from the source
lint: $(BIN)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/house_rules.py
	rm -rf build/lib build/flat build/bdist.*
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --no-compile --target $(FLAT) .
	cd $(FLAT) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml -p evsim
	cd $(FLAT) && PYTHONPATH=. $(abspath $(BIN))/lint-imports --config $(CURDIR)/pyproject.toml --no-cache --no-logo

# the site, into build/site: open build/site/index.html; a warning fails it
docs: $(BIN)/.dev
	$(BIN)/sphinx-build -W --keep-going -q -d build/doctrees docs build/site

# the site in a browser: it fits phones and desks, fetches nothing, and its search answers newcomers
check-site: docs
	$(BIN)/python tests/check_site.py

# what the pages leave to the nightly: long commands, PyTorch, timings; a page's own run: PAGES=docs/audit.md
PAGES ?=
$(BIN)/.docs: $(BIN)/.dev
	$(BIN)/pip install --quiet --editable '.[torch]' 'snntorch==1.0.0'
	touch $@

docs-slow: $(BIN)/.docs
ifeq ($(PAGES),)
	EVSIM_DOCS=all $(BIN)/python -m pytest -q tests/test_docs.py
else
	$(BIN)/python tests/docs_run.py --all $(PAGES)
endif

# the bundled model on all held-out digits, each recorded, written, read and run by evsim
accuracy: $(BIN)/.dev
	$(BIN)/python tests/reference/measure_demo.py

# the same in integers: int8, calibrated and not, and int16, against float64
accuracy-integers: $(BIN)/.dev
	$(BIN)/python tests/reference/measure_integers.py

# the same commit gives the same wheel, byte by byte
wheel: $(BIN)/.dev
	$(BIN)/python tests/build_wheel.py build/wheel

# the wheel, on every Python at hand, with its core dependencies alone and outside the repository, does what README says
check-wheel: wheel
	$(BIN)/python tests/check_wheel.py build/wheel

# what the wheel is made of, as CycloneDX
sbom: wheel
	$(BIN)/python tests/sbom.py build/wheel build/evsim.cdx.json

$(TOOLS)/.ready: .ci/tools.txt
	$(PYTHON) -m venv build/tools
	$(TOOLS)/pip install --quiet --require-hashes --requirement $<
	touch $@

# the newest release of all that is needed, and the oldest that pyproject.toml allows (wheels alone; dv has none)
lock: $(TOOLS)/.ready
	$(LOCKING) --universal --extra dev --extra docs pyproject.toml --output-file .ci/dev.txt
	$(LOCKING) --universal .ci/tools.in --output-file .ci/tools.txt
	$(LOCKING) --resolution lowest-direct --only-binary :all: --no-binary dv --extra dev pyproject.toml \
		--output-file .ci/lowest.txt

# known vulnerabilities of what the locks name
audit: $(TOOLS)/.ready $(BIN)/.dev
	$(BIN)/python tests/advisories.py $(TOOLS)/pip-audit .ci/dev.txt .ci/tools.txt

# environments beside .venv, each with a cache of kernels of its own
build/lowest/bin/.ready: pyproject.toml .ci/lowest.txt
	rm -rf build/lowest
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/pip install --quiet --require-hashes --requirement .ci/lowest.txt
	build/lowest/bin/pip install --quiet --no-deps --editable .
	touch $@

build/newest/bin/.ready: pyproject.toml $(BIN)/.dev
	rm -rf build/newest
	$$($(BIN)/python tests/pythons.py --newest) -m venv build/newest
	build/newest/bin/pip install --quiet --editable '.[dev]'
	touch $@

test-lowest: build/lowest/bin/.ready
	NUMBA_CACHE_DIR=build/cache/lowest build/lowest/bin/python -m pytest $(SPREAD)

test-newest: build/newest/bin/.ready
	NUMBA_CACHE_DIR=build/cache/newest build/newest/bin/python -m pytest $(SPREAD)

test-numpy-versions: build/lowest/bin/.ready build/newest/bin/.ready
	NUMBA_CACHE_DIR=build/cache/lowest build/lowest/bin/python -m pytest $(NUMPY_TESTS)
	NUMBA_CACHE_DIR=build/cache/newest build/newest/bin/python -m pytest $(NUMPY_TESTS)

# kernels as a CPU without AVX-512 gets them
test-avx2: $(BIN)/.dev
	$(AVX2) NUMBA_CACHE_DIR=build/cache/avx2 $(BIN)/python -m pytest $(CPU_TESTS)

# evsim on 64-bit Arm, emulated by qemu: the same bits as here. ARM_TESTS names tests that run there too (slow)
ARM_TESTS ?=
.PHONY: test-aarch64
test-aarch64: wheel
	$(BIN)/python tests/aarch64.py build/wheel $(ARM_TESTS)

# each index of a kernel, and each address of an intrinsic (EVSIM_CHECKED), is compared with its array
CHECKED_TESTS ?=
test-boundscheck: $(BIN)/.dev
	EVSIM_CHECKED=1 NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=build/cache/boundscheck $(BIN)/python -m pytest $(SPREAD) $(CHECKED_TESTS)

# every reader on damaged files that were not tried yet; the state is tests/data/fuzz/figures.json, and the table in
# docs/security.md is written anew: `make fuzz-figures` prints it
FUZZ_FILES ?= 100000
FUZZ_SECONDS ?= 60
READERS ?=
fuzz: $(BIN)/.dev
	$(BIN)/python tests/fuzz.py --number $(FUZZ_FILES) --seconds $(FUZZ_SECONDS) $(READERS)

fuzz-figures: $(BIN)/.dev
	@$(BIN)/python tests/fuzz.py --figures

# the same, guided by coverage, for the readers that are plain Python
$(BIN)/.fuzz: $(BIN)/.dev
	$(BIN)/pip install --quiet '$(ATHERIS)'
	touch $@

ATHERIS ?= atheris>=3
fuzz-guided: $(BIN)/.fuzz
	$(BIN)/python tests/fuzz.py --guided --number $(FUZZ_FILES) --seconds $(FUZZ_SECONDS) $(READERS)

# many random networks, others each time, against the dense oracle
NETWORKS ?= 3000
test-networks: $(BIN)/.dev
	EVSIM_NETWORKS=$(NETWORKS) $(BIN)/python -m pytest tests/test_networks.py

# signals at random moments, disks of every size, cold caches filled by two processes
FAULTS ?= 50
test-faults: $(BIN)/.dev
	EVSIM_FAULTS=$(FAULTS) $(BIN)/python -m pytest -q tests/test_faults.py \
		tests/test_evaluation_cli.py::test_kills_at_random_moments \
		tests/test_evaluation_file.py::test_changed_bytes_never_crash

# networks of SpikingJelly (three releases), snnTorch, Norse and sinabs, traced: each library in an environment of its own
LIBRARIES ?=
test-reach: $(BIN)/.dev
	$(BIN)/python tests/reach/environments.py $(LIBRARIES)

test-reach-short: $(BIN)/.dev
	$(BIN)/python tests/reach/environments.py --short

# dense PyTorch, OpenVINO and ONNX Runtime are the opponents (spikingjelly's own list of needs is for training)
$(BIN)/.bench: $(BIN)/.dev
	$(BIN)/pip install --quiet --editable '.[bench]'
	$(BIN)/pip install --quiet --no-deps spikingjelly==0.0.0.0.12
	touch $@

# the ONNX graphs that the bench gives to other runtimes
.PHONY: test-opponents
test-opponents: $(BIN)/.bench
	$(BIN)/python -m pytest tests/test_bench_onnx.py

# BENCH takes options: BENCH='--only 8-768 --add' measures one network and keeps the rest, BENCH=--write writes the page
BENCH ?=
bench: $(BIN)/.bench
	$(BIN)/python tests/benchmarks/bench.py $(BENCH)

# 8-512 as a CPU without AVX-512 runs it; ONNX Runtime cannot be told to do without
.PHONY: bench-avx2
bench-avx2: $(BIN)/.bench
	$(AVX2) NUMBA_CACHE_DIR=build/cache/avx2 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
		$(BIN)/python tests/benchmarks/bench.py --only 8-512 --out build/bench-avx2.json $(BENCH)

bench-quick: $(BIN)/.bench
	$(BIN)/python tests/benchmarks/bench.py --quick $(BENCH)

# the open experiments of docs/experiments.md: trains what is not in build/experiments yet (half an hour of one core),
# evaluates it in float64, holds each prediction against PyTorch's and prints the tables; WRITE=--write keeps them
$(BIN)/.torch: $(BIN)/.dev
	$(BIN)/pip install --quiet --editable '.[torch]'
	touch $@

WRITE ?=
experiments: $(BIN)/.torch
	$(BIN)/python tests/reference/train_small.py --out build/experiments
	$(BIN)/python tests/reference/experiments.py --folder build/experiments $(WRITE)

# samples per second and memory of `evsim eval` on 1 worker and on 2
bench-eval: $(BIN)/.dev
	$(BIN)/python tests/benchmarks/scale.py

clean:
	rm -rf $(VENV) build demo-out
