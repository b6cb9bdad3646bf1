# README's two commands are `make demo` and `make test`; both install what they need first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: install demo test check lint types layers unit slow wheel plugin bench soak clean scenes-table coastlines-tables

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "geounet needs Python 3.11 or later; say PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install  ## the main job, on a synthetic coast
	$(BIN)/geounet demo --out demo --overwrite

test: install  ## what CI runs
	$(MAKE) check

check: lint types layers unit  ## the same, without installing

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

layers:
	$(BIN)/lint-imports

unit:
	$(BIN)/pytest -m "not slow and not gpu" -n auto --dist worksteal

slow: install  ## the tests that take minutes
	$(BIN)/pytest -m slow

scenes-table: install  ## docs/scenes.md anew, from the real scenes
	GEOUNET_REWRITE=1 $(BIN)/pytest tests/real/test_scenes_table.py

coastlines-tables: install  ## the tables of docs/coastlines.md, from exact and real lines
	GEOUNET_REWRITE=1 $(BIN)/pytest tests/pipeline/test_line_accuracy.py tests/real/test_maldives.py

wheel: install  ## build, install elsewhere, and use what was built
	rm -rf build/dist
	$(BIN)/python -m build --outdir build/dist .
	$(PYTHON) -m venv --clear build/venv
	build/venv/bin/pip install --quiet --constraint constraints.txt build/dist/*.whl
	cd build && venv/bin/geounet configs && ! venv/bin/python -c "import cli" 2>/dev/null

plugin:  ## build/geounet-qgis-VERSION.zip, which QGIS installs; needs Python alone
	$(PYTHON) qgis_plugin/build.py build

bench: install  ## benchmarks, each a ratio in one run
	for script in $$(ls benchmarks/*.py | grep -v results.py); do $(BIN)/python $$script || exit 1; done

SEED  ?= 0
CASES ?= 1000
KILLS ?= 200
FULL  ?= 50
FAULTS ?= 50
soak: install  ## other examples for the properties; malformed input, kills, full disks, bad sources, whose failures are kept in build/soak
	HYPOTHESIS_PROFILE=drawn $(BIN)/pytest -m "hypothesis and not slow" -n auto --dist worksteal
	PYTHONPATH=tests $(BIN)/python -m fuzzing.soak --seed $(SEED) --cases $(CASES) --kills $(KILLS) --full $(FULL) --faults $(FAULTS)

clean:
	rm -rf build demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
