PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLAT := build/flat

.PHONY: demo test lint accuracy check-wheel bench bench-quick clean

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(BIN)/.dev: pyproject.toml $(BIN)/.installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: $(BIN)/.installed
	$(BIN)/evsim demo --save demo-out
	$(BIN)/evsim demo
	$(BIN)/evsim run demo-out/model.h5 --input demo-out/dvs_sample.aedat

test: $(BIN)/.dev
	$(BIN)/python -m pytest
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest tests/test_kernels.py

# converters/ and cli/ are evsim.converters and evsim.cli once installed: types and floors are checked on such a copy;
# build/lib goes first, or setuptools would pack modules that are gone from the source
lint: $(BIN)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/house_rules.py
	rm -rf build/lib build/flat build/wheel build/bdist.*
	$(BIN)/pip install --quiet --no-deps --no-compile --target $(FLAT) .
	cd $(FLAT) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml -p evsim
	cd $(FLAT) && PYTHONPATH=. $(abspath $(BIN))/lint-imports --config $(CURDIR)/pyproject.toml --no-cache --no-logo

# the bundled model on all held-out digits, each recorded, written, read and run by evsim
accuracy: $(BIN)/.dev
	$(BIN)/python tests/reference/measure_demo.py

# the wheel, in a fresh virtual environment and outside the repository, does what README says
check-wheel: $(BIN)/.dev
	rm -rf build/lib build/flat build/wheel build/bdist.*
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(BIN)/python tests/check_wheel.py build/wheel

# dense PyTorch is the opponent: only benchmarks need it (spikingjelly's own list of needs is for training)
$(BIN)/.bench: $(BIN)/.dev
	$(BIN)/pip install --quiet --editable '.[torch]'
	$(BIN)/pip install --quiet --no-deps spikingjelly==0.0.0.0.12
	touch $@

bench: $(BIN)/.bench
	$(BIN)/python tests/benchmarks/bench.py

bench-quick: $(BIN)/.bench
	$(BIN)/python tests/benchmarks/bench.py --quick

clean:
	rm -rf $(VENV) build demo-out
