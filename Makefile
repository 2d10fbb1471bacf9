# All that is done with this repository. A fresh clone needs Python 3.11 or newer and make; the rest comes by itself.

VENV := .venv
RUN := $(VENV)/bin/python -m
PYTHON ?= $(shell for name in python3 python python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv format check test test-cluster test-compose test-containers test-kubernetes power-loss chaos model bench bench-scale bench-feed demo clean

help: ## This list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  ARGS='...' is passed on by test, test-cluster, test-containers, test-compose, test-kubernetes, chaos, model, bench, bench-scale, bench-feed and demo; PYTHON=... names the interpreter."

venv: $(VENV)/.installed ## Make .venv and install Vagus with its development tools; again only when pyproject.toml changed.

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(VENV)/bin/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

format: venv ## Format the code and mend what the linter can mend.
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

check: venv ## Format, lint, types by two checkers, architecture.
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) pyright --pythonpath $(VENV)/bin/python
	$(RUN) pytest -q tests/architecture

test: venv ## All tests, against a real nats-server; without those for Docker and the long ones on a cluster.
	$(RUN) pytest -m "not containers and not cluster and not kubernetes" $(ARGS)

test-cluster: venv ## All tests on a cluster of three servers, which die, freeze and come back; some minutes.
	$(RUN) pytest tests/integration/test_cluster.py tests/fault/test_cluster.py tests/fault/test_relay_cluster.py tests/fault/test_schedules.py $(ARGS)

test-containers: venv ## The broker tests against a nats-server in a container; needs Docker.
	VAGUS_TEST_BROKER=container $(RUN) pytest tests/conformance tests/integration $(ARGS)

test-compose: venv ## deploy/compose.yaml for real, with containers that are killed; needs Docker and deploy/build.
	$(RUN) pytest -m containers tests/deploy/test_compose.py $(ARGS)

test-kubernetes: venv ## The chart as installed in kubectl's context: pods killed and rolled, a node drained; VAGUS_TEST_SECRETS=FOLDER.
	$(RUN) pytest -m kubernetes tests/deploy/test_kubernetes.py $(ARGS)

power-loss: venv ## Cut the power of a server under load some hundred times; see docs/reliability.md.
	VAGUS_POWER_CUTS=$(or $(CUTS),300) VAGUS_POWER_SEED=$(or $(SEED),$(shell date +%s)) \
		$(RUN) pytest -q tests/fault/test_power_loss.py $(ARGS)

chaos: venv ## 10 000 ticks among 320 faults, then the checker; some twenty minutes, see docs/reliability.md.
	$(RUN) chaos $(ARGS)

model: venv ## Explore the protocol: thousands of schedules of faults; see docs/reliability.md.
	$(RUN) tests.model $(ARGS)

bench: venv ## Measure commits, ticks, session creation and activation; see docs/performance.md.
	$(RUN) benchmarks $(ARGS)

bench-scale: venv ## Measure how far one machine goes: runners, thousands of sessions, a cluster; see docs/performance.md.
	$(RUN) benchmarks.scale $(ARGS)

bench-feed: venv ## Measure the firehose and every way to read it; see docs/performance.md.
	$(RUN) benchmarks.feed $(ARGS)

demo: venv ## See it happen: a whole session in a temporary store, nothing left behind.
	$(VENV)/bin/vagus demo $(ARGS)

clean: ## Remove everything that was made here, the installed tools included.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
