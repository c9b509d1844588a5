# `make` alone lists the targets. Everything happens inside .venv; nothing outside the checkout is changed.
SHELL := /bin/sh
VENV_PYTHON := .venv/bin/python
STAMP := .venv/installed.stamp

# The interpreter that creates .venv; the first of the candidates that runs and has a supported version is taken.
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3.12 python3.11 python3.10 python3)
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
HEADERS := import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DELETE_ON_ERROR:
.PHONY: help install demo serve train-demo train-demo-stable-animator train-demo-easy-animate ablate-demo \
	option-pages test test-all fuzz mutate lint clean

help:
	@echo 'make install     create .venv and install the package with its test tools (PYTHON=... chooses the interpreter)'
	@echo 'make demo        animate a drawn person with the small model that this code trained'
	@echo 'make serve       start the page and REST at http://127.0.0.1:7860 (ARGS="--port 7861": options of scripts.serve)'
	@echo 'make train-demo  train that model anew: about four hours on two processor cores'
	@echo 'make ablate-demo what its quality depends on, after make train-demo: short trainings, and a table of them'
	@echo 'make train-demo-stable-animator'
	@echo '                 train a small StableAnimator: about three hours on two processor cores'
	@echo 'make train-demo-easy-animate'
	@echo '                 train a small text-to-video model on a CPU, which takes hours'
	@echo 'make option-pages'
	@echo '                 write docs/options.md and docs/options_zh.md from the declarations of the options'
	@echo 'make test        run the tests (ARGS=tests/weights: a part of them)'
	@echo 'make test-all    run the long tests as well, as continuous integration does'
	@echo 'make fuzz        try made-up input on every boundary (MINUTES=60)'
	@echo 'make mutate      change the code in small ways and see whether its tests notice (ROOM=windows: a part of it)'
	@echo 'make lint        run the linter, and check formatting, spelling and types'
	@echo 'make clean       remove .venv, build products and caches'

install: $(STAMP)

# The stamp goes first and comes back last: an installation that was interrupted is never taken for a finished one.
$(STAMP): requirements.txt constraints.txt setup.py
	@rm -f $@
	@if ! { $(VENV_PYTHON) -c '$(SUPPORTED)' && $(VENV_PYTHON) -m pip --version; } >/dev/null 2>&1; then \
		python=; \
		for candidate in $(CANDIDATES); do \
			if "$$candidate" -c '$(SUPPORTED)' >/dev/null 2>&1; then python=$$candidate; break; fi; \
		done; \
		if [ -z "$$python" ]; then \
			echo 'error: none of these runs and fits: $(CANDIDATES); Python 3.10, 3.11 or 3.12 is needed' >&2; exit 1; \
		fi; \
		version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
			echo "error: Python $$version cannot create environments, ensurepip or venv is missing;" \
				"on Debian and Ubuntu install python$$version-venv" >&2; exit 1; \
		fi; \
		if ! "$$python" -c '$(HEADERS)' >/dev/null 2>&1; then \
			echo "error: Python $$version has no header files, which ligo-segments is compiled with;" \
				"on Debian and Ubuntu install python$$version-dev" >&2; exit 1; \
		fi; \
		echo "Creating .venv with Python $$version"; \
		"$$python" -m venv --clear .venv; \
	fi
	@echo 'Installing the packages into .venv, which takes a few minutes the first time'
	@$(VENV_PYTHON) -m pip install -q --upgrade -c constraints.txt pip
	@PYTHONWARNINGS='ignore:Editable installation' \
		$(VENV_PYTHON) -m pip install -q -c constraints.txt --build-constraint constraints.txt -e '.[test]'
	@touch $@

demo: install
	@$(VENV_PYTHON) -m scripts.pose2vid --config configs/inference/demo.yaml --overwrite

serve: install
	@$(VENV_PYTHON) -m scripts.serve $(ARGS)

train-demo: install
	@$(VENV_PYTHON) -m scripts.train_demo --skip-existing

ablate-demo: install
	@$(VENV_PYTHON) -m scripts.ablate_demo

train-demo-stable-animator: install
	@$(VENV_PYTHON) -m scripts.train_demo_stable_animator --skip-existing

train-demo-easy-animate: install
	@$(VENV_PYTHON) -m scripts.train_demo_easy_animate --skip-existing

option-pages: install
	@$(VENV_PYTHON) -m docs.option_pages

test: install
	@$(VENV_PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-all:
	@$(MAKE) --no-print-directory test ARGS='-m "not slow" $(ARGS)'

fuzz: install
	@$(VENV_PYTHON) -m tests.fuzz --minutes $(or $(MINUTES),60)

mutate: install
	@$(VENV_PYTHON) -m pip install -q -c constraints.txt mutmut
	@$(VENV_PYTHON) -m tests.mutate $(ROOM) $(ARGS)

lint: install
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m codespell_lib
	@$(VENV_PYTHON) -m mypy

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
