# `make compare` and `make test` are all that a fresh clone needs.

# The tests and benchmarks assume 2 cores; more threads than cores slow them down.
export OMP_NUM_THREADS ?= 2

INSTALL = .venv/bin/python -m pip install -qq -c constraints.txt

.PHONY: help compare test check bench tutorials clean

help:
	@echo "make compare   fit Old Faithful by EM and by SVI, print the comparison, write report/"
	@echo "make test      run the tests"
	@echo "make check     lint, formatting, types, imports between folders, sizes of files"
	@echo "make bench     time ours beside scikit-learn, StepMix, faiss, pomegranate, torch and Pyro: one table"
	@echo "make tutorials run the tutorials and write their notebooks anew"
	@echo "make clean     remove .venv, report and caches"

compare: .venv/.installed
	.venv/bin/lowerbound compare faithful --components 2 --engines em,svi --out report

# many tests start processes of their own, which read compiled modules several seconds faster
test: .venv/.installed-dev
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses auto --dist loadgroup

check: .venv/.installed-dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pyright
	.venv/bin/lint-imports --no-cache > .venv/.floors || { cat .venv/.floors; exit 1; }
	@grep -E 'KEPT|BROKEN' .venv/.floors
	@.venv/bin/python .ci/file_sizes.py

# `make bench SECTIONS="gaussian kmeans"` runs some of it
bench: .venv/.installed-bench
	.venv/bin/python -m benchmarks $(SECTIONS)

tutorials: .venv/.installed-dev
	.venv/bin/python -m tutorials

clean:
	rm -rf .venv report build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/pip:
	@for python in python3.11 python3; do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	        && exec $$python -m venv .venv; \
	done; \
	echo "lowerbound needs Python 3.11 or newer, found as python3.11 or python3; here is $$(python3 --version 2>&1)" >&2; \
	exit 1

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "filling .venv with lowerbound and what it needs (a few minutes the first time)"
	@$(INSTALL) -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	@echo "adding what the tests and checks need"
	@$(INSTALL) -e '.[test,dev]'
	@touch $@

.venv/.installed-bench: .venv/.installed
	@echo "adding what it is measured against"
	@$(INSTALL) -e '.[bench]'
	@touch $@
