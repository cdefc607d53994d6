# The commands of the tree; `make` alone lists them.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo scale-demo test test-vm test-vm-io docs docs-images check bench bench-long torture fuzz mutants lock clean setup setup-dev

PYTHON := .venv/bin/python
# Processes that share the tests out, file by file; most tests wait for other processes much of the time.
TESTERS := 3
# Most tests start processes: none of them is to compile the tree anew, whatever the caller's environment says.
unexport PYTHONDONTWRITEBYTECODE
# A mosquitto unpacked into .cache (no root) comes before the system's.
export PATH := $(CURDIR)/.cache/mosquitto:$(PATH):/usr/sbin

SHORT := "not torture and not vm and not vm_io"

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: setup ## set everything up and start a gateway with a demo plant (SECONDS=30 ends it by itself)
	@exec ./edgetwin demo $(if $(SECONDS),--seconds $(SECONDS))

test: setup-dev ## every test but the long fault tests
	@tools/peers.sh
	@$(PYTHON) -m pytest -q --durations=5 -m $(SHORT) -n $(TESTERS) --dist loadfile; code=$$?; [ $$code -eq 1 ] || exit $$code; \
	echo "The tests that failed are run once more, alone: a busy machine may have kept them from their time." >&2; \
	exec $(PYTHON) -m pytest -q --last-failed --last-failed-no-failures=none --maxfail=1 -m $(SHORT)

check: setup-dev ## format, lint, types, import layers and the fast tests, in less than a minute
	@.venv/bin/ruff format --check --quiet . || { echo "error: run .venv/bin/ruff format ." >&2; exit 1; }
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/lint-imports --no-logo >.cache/layers.log 2>&1 || { cat .cache/layers.log >&2; exit 1; }
	@$(PYTHON) -m pytest -q -m 'fast and not torture and not vm and not vm_io'

scale-demo: setup-dev ## two brokers behind HAProxy, PostgreSQL, two workers, simulated gateways; one broker is killed
	@tools/haproxy.sh
	@exec $(PYTHON) -m tests.bench.scale_demo

docs: setup-dev ## the pages as a site into .cache/site, which can be read without a server, but for its search
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --quiet --strict
	@echo "open .cache/site/index.html; with a search: python3 -m http.server --bind 127.0.0.1 --directory .cache/site"

docs-images: setup-dev ## the screenshots of the pages anew into docs/images, made by the browser tests (chromium)
	@tools/peers.sh
	@EDGETWIN_IMAGES=1 $(PYTHON) -m pytest -q --basetemp=/tmp/edgetwin tests/e2e/test_dashboard.py

test-vm: setup-dev ## build an image and boot it in qemu (root, some 3 minutes; mmdebstrap, qemu-system-x86, ovmf, mtools)
	@tools/peers.sh vm
	@$(PYTHON) -m pytest -q -rP -m vm tests/vm

test-vm-io: setup-dev ## virtual machines with GPIO, serial ports, Bluetooth, watchdog (root; also qemu-system-arm, qemu-efi-aarch64, qemu-user-static)
	@tools/peers.sh vm
	@$(PYTHON) -m pytest -q -rP -m vm_io tests/vm

bench: setup-dev ## measure the figures into docs/benchmarks.md (ONLY=name for one)
	@tools/peers.sh
	@exec $(PYTHON) -m tests.bench.run $(ONLY)

bench-long: setup-dev ## the figures that take more than a minute
	@tools/peers.sh
	@exec $(PYTHON) -m tests.bench.run --long $(ONLY)

torture: setup-dev ## the long fault tests: kill -9, power cuts, failing disks, flipped bytes, clocks (root for all of them)
	@tools/peers.sh
	@$(PYTHON) -m pytest -q -m torture

fuzz: setup-dev ## ten minutes of atheris on everything that reads bytes of others (ONLY=name, FOR=seconds)
	@exec $(PYTHON) -m tests.fuzz.run --seconds $(or $(FOR),600) $(ONLY)

mutants: setup-dev ## break each rule on purpose; the tests must notice every one
	@exec $(PYTHON) -m tests.mutants.run

lock: setup-dev ## newest versions of all libraries into requirements/*.lock
	@tools/lock.sh

clean: ## remove everything that the other commands made
	@rm -rf .venv .cache .state build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@tools/setup.sh run
	@tools/mosquitto.sh

setup-dev:
	@tools/setup.sh dev
	@tools/mosquitto.sh
