# What a newcomer types: `make demo`, `make test`. Everything it needs is set up on the way.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CACHE ?= $(or $(CRONSEMBLE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cronsemble)

.PHONY: demo test bench check format images keras3 hyperkube golden clean

demo: $(READY)
	-$(PYTHON) images/build.py legacy --install
	$(BIN)/cronsemble run --skip-unavailable
	@echo; for csv in $$(ls -t store/predictions/digits/*.csv | head -1); do echo "$$csv:"; head -5 "$$csv"; done
	@echo; $(BIN)/cronsemble history

test: $(READY) keras3 hyperkube
	CRONSEMBLE_TEST_KERAS3=$$(cat $(VENV)/keras3) $(BIN)/pytest

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The golden files of the cluster's objects, written anew: read the diff before you commit it.
golden: $(READY)
	CRONSEMBLE_GOLDEN=write $(BIN)/pytest tests/cronjobs/test_golden.py

images:
	$(PYTHON) images/build.py all --install

keras3: $(READY)
	$(BIN)/python -c "from scheduler.venvs import make_venv; print(make_venv(lambda text: __import__('sys').stderr.write(text + '\n')))" > $(VENV)/keras3

# The Kubernetes of the tests, built once into the cache, unless the tests are pointed at another one.
hyperkube:
	$(if $(CRONSEMBLE_TEST_KUBECONFIG)$(KUBEBUILDER_ASSETS),,$(PYTHON) tests/cluster/binaries.py > /dev/null)

$(READY): pyproject.toml requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/combine.py
	$(BIN)/python benchmarks/image_start.py
	$(BIN)/python benchmarks/serve.py
