# What a newcomer types: `make demo`, `make test`. Everything it needs is set up on the way.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# How many processes share the files of `make test`; each starts an API server of its own when a test asks for one.
JOBS ?= 2
CACHE ?= $(or $(CRONSEMBLE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cronsemble)

# uv with pip's settings, as the tool runs it.
UV := import sys; from scheduler.runtimes.uv import main; main(sys.argv[1:])
MAKE_VENV := import sys; from scheduler.runtimes.venvs import make_venv; print(make_venv(lambda text: print(text, file=sys.stderr), sys.argv[1]))

.PHONY: demo dist test-ready test chaos test-node test-nfs test-torch cluster node bench bench-node check format pictures images keras3 hyperkube monitoring golden clean

demo: $(READY)
	@sh examples/demo.sh

# What all parts of the tests need, built one thing after the other.
test-ready: $(READY) keras3 hyperkube monitoring
	.ci/packages images node nfs browser
	-$(BIN)/cronsemble images build --save $(CACHE)/archives
	-$(PYTHON) tests/nfs/disks.py

# The files are begun in the order of tests/conftest.py, those that take longest first. What needs that no node runs is a part of test-node.
test: $(READY) keras3 hyperkube monitoring
	.ci/packages images node browser
	-$(BIN)/cronsemble images build
	CRONSEMBLE_TEST_KERAS3=$$(cat $(VENV)/keras3) $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	--durations 10 --ignore tests/node --ignore tests/nfs --ignore tests/cluster/test_sandbox.py

# Hostile configurations, stores, kills, output and arrays for an hour. SEED=… MINUTES=… repeat one; CASE=FILE tries one case again.
chaos: $(READY)
	PYTHONPATH=.:tests $(BIN)/python -m chaos $(if $(CASE),--case $(CASE),--minutes $(or $(MINUTES),60) $(if $(SEED),--seed "$(SEED)"))

# Needs root, containerd, runc and the CNI plugins; see docs/development.md.
test-node: $(READY) hyperkube
	.ci/packages images node
	-$(BIN)/cronsemble images build --save $(CACHE)/archives
	$(BIN)/pytest tests/cluster/test_sandbox.py
	CRONSEMBLE_TEST_ARCHIVES=$(or $(CRONSEMBLE_TEST_ARCHIVES),$(CACHE)/archives) \
	$(if $(CRONSEMBLE_TEST_KUBECONFIG),,PYTHONPATH=tests $(BIN)/python -m cluster.sandbox) $(BIN)/pytest --durations 10 tests/node

# The store over real NFS, in a virtual machine that is made once into the cache; see docs/development.md.
test-nfs: $(READY)
	.ci/packages images nfs
	-$(BIN)/cronsemble images build
	-$(PYTHON) tests/nfs/disks.py
	$(BIN)/pytest --durations 10 tests/nfs

# The same control plane, and the same node, by hand.
cluster: $(READY) hyperkube
	PYTHONPATH=tests $(BIN)/python -m cluster.control_plane

node: $(READY) hyperkube
	PYTHONPATH=tests CRONSEMBLE_TEST_ARCHIVES=$(CACHE)/archives $(BIN)/python -m cluster.sandbox $(BIN)/python -m cluster.node

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

# The screenshots of README and docs; they need a Chromium.
pictures: $(READY)
	.ci/packages browser
	$(BIN)/python tests/report/pictures.py

images: $(READY)
	.ci/packages images
	$(BIN)/cronsemble images build

# A source distribution and a wheel, which hold all that the commands need: see docs/release.md.
dist: $(READY)
	rm -rf dist build
	$(BIN)/python -m build --no-isolation --outdir dist .

keras3: $(READY)
	$(BIN)/python -c "$(MAKE_VENV)" keras3.txt > $(VENV)/keras3

# Downloads 3 GB; no part of `make test`.
test-torch: $(READY)
	$(BIN)/python -c "$(MAKE_VENV)" keras3-torch.txt > $(VENV)/keras3-torch
	CRONSEMBLE_TEST_TORCH=$$(cat $(VENV)/keras3-torch) $(BIN)/pytest tests/test_torch.py

# The Kubernetes of the tests, built once into the cache, unless the tests are pointed at another one.
hyperkube:
	$(if $(CRONSEMBLE_TEST_KUBECONFIG)$(KUBEBUILDER_ASSETS),,$(PYTHON) tests/cluster/binaries.py > /dev/null)

# Prometheus, promtool and Alertmanager, built once into the cache; what needs them is skipped where that fails, and fails in CI.
monitoring:
	-$(PYTHON) tests/monitoring/programs.py > /dev/null

$(READY): pyproject.toml requirements/dev.txt requirements/uv.txt
	PYTHON=$(PYTHON) .ci/packages venv
	$(PYTHON) -m venv $(VENV)
	@echo "installing the tools' packages into $(VENV) (usually 30 s)"
	$(BIN)/python -m pip install -q --require-hashes -r requirements/uv.txt
	$(BIN)/python -c "$(UV)" pip install --python $(CURDIR)/$(BIN)/python --require-hashes -r $(CURDIR)/requirements/dev.txt
	$(BIN)/python -c "$(UV)" pip install --python $(CURDIR)/$(BIN)/python --no-deps --no-build-isolation -e $(CURDIR)
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/combine.py
	$(BIN)/python benchmarks/ensembling.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/sync.py
	$(BIN)/python benchmarks/fires.py
	$(BIN)/python benchmarks/image_start.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/history.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/watch.py

# Needs what `make test-node` needs.
bench-node: $(READY) hyperkube
	.ci/packages images node
	$(BIN)/cronsemble images build --save $(CACHE)/archives
	CRONSEMBLE_TEST_ARCHIVES=$(CACHE)/archives PYTHONPATH=tests $(BIN)/python -m cluster.sandbox $(BIN)/python benchmarks/night.py
	CRONSEMBLE_TEST_ARCHIVES=$(CACHE)/archives PYTHONPATH=tests $(BIN)/python -m cluster.sandbox $(BIN)/python benchmarks/reader.py
