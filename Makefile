# `make demo` and `make test` set up what they need on a fresh machine and then do the work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Real images if there are any, synthetic ones otherwise.
ifneq ($(and $(DERMLENS_DATA),$(wildcard $(DERMLENS_DATA)/ham10000)),)
DEMO_DATA := $(DERMLENS_DATA)/ham10000
else ifneq ($(wildcard data/ham10000),)
DEMO_DATA := data/ham10000
else
DEMO_DATA := demo/synthetic
endif

.PHONY: demo test test-slow lint format bench bench-service bench-inference lock clean

$(READY): requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dermlens needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: $(READY)
	rm -rf demo/run
	test "$(DEMO_DATA)" != demo/synthetic || test -f demo/synthetic/HAM10000_metadata.csv || \
		{ rm -rf demo/synthetic && $(BIN)/dermlens data synthesize --out demo/synthetic --lesions 1500 --width 300 --height 225; }
	$(BIN)/dermlens data verify --data "$(DEMO_DATA)"
	OMP_WAIT_POLICY=PASSIVE $(BIN)/dermlens train demo --data "$(DEMO_DATA)" --out demo/run
	$(BIN)/dermlens evaluate demo/run
	$(BIN)/dermlens report demo/run

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=25 -m "not slow"

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=25 -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/cache_build.py
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/training_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/kept_memory.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/augmentation_speed.py

# The service: minutes of load, one after the other. Run on a quiet machine.
bench-service: $(READY)
	$(BIN)/python benchmarks/service_load.py --write
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/service_limits.py --write

# Every engine and backbone, a process each. LITERT_PYTHON names a Python with dermlens[litert], which has its own torch.
bench-inference: $(READY)
	$(BIN)/python benchmarks/inference_speed.py --write $(if $(LITERT_PYTHON),--python $(LITERT_PYTHON))

# Needs uv. The file names packages and versions only, no index.
lock:
	uv pip compile pyproject.toml --extra train --extra track --extra export --extra keras \
		--extra openvino --extra explain --extra serve --extra dicom --extra parquet --extra excel --extra segment --extra search --group dev --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --no-header -o requirements/dev.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --no-header -o requirements/base.txt
	uv pip compile pyproject.toml --extra serve --extra dicom --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --no-header -c requirements/dev.txt -o requirements/serve.txt

clean:
	rm -rf $(VENV) demo
