# Two commands do all the set-up: `make demo` and `make test`. The virtual environment lies in the clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Half of the tests' time is waiting: for processes that start, for deadlines of peers that say nothing.
PYTEST := $(BIN)/python -m pytest -n $$((2 * $$(nproc))) --dist worksteal

.PHONY: demo test check bench bench-receive bench-analysis train clean

demo: $(READY)  ## push simulated studies through a node, show what arrives at the archive
	$(BIN)/paraspinal-node demo $(DEMO)

test: $(READY)  ## the whole test suite
	$(PYTEST) $(TEST)

check: $(READY)  ## style, types, floors, quick tests: before every commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m "not slow and not crash"

bench: $(READY)  ## benchmarks in a quick form, side by side with peers
	$(BIN)/python -m benchmarks

bench-receive: $(READY)  ## receivers side by side with peers, at length: some minutes; BENCH=--help
	$(BIN)/python -m benchmarks.receiving $(BENCH)

bench-analysis: $(READY)  ## tables and figures of the analysis, into docs/figures: an hour or more; BENCH=--help
	$(BIN)/python -m benchmarks.analysis $(BENCH)

train: $(READY)  ## teach the segmenter on, from the weights of the repository until Ctrl-C; TRAIN=--help
	$(BIN)/python -m pip install --quiet --editable '.[training]'
	$(BIN)/python -m training $(TRAIN)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) demo-output
