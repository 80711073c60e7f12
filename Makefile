# Every target creates the virtual environment that it needs, so all of them work in a fresh clone.
#
#   make demo          train and compare factorization machines on real data
#   make test          run the test suite         make test ARGS="-k probit -x"
#   make test-slow     run the long tests that make test leaves out
#   make test-oldest   run the tests with the oldest supported scikit-learn, but those of core, nn and training
#   make doctest       run the examples in the docstrings, the README and the documentation
#   make lint types imports                       check style, types and import rules
#   make docs          build the documentation in docs/_build/html     make docs GALLERY=0 does not run the examples
#   make examples      run every example as a script and print its time; examples whose data are missing are skipped
#   make bench         run the benchmarks         make bench BENCH=benchmarks/one.py ARGS="--quick"
#   make clean         remove everything that was built, including the environments
#
# To use another interpreter or environment:  make test PYTHON=python3.12 VENV=.venv312
# To pass options to pip (an index with CPU builds of torch, for example):  PIP_FLAGS="--index-url ..."

PYTHON ?= python3
VENV ?= .venv
VENV_OLDEST ?= .venv-oldest
VENV_BENCH ?= .venv-bench
CONSTRAINTS ?= constraints.txt
PIP_FLAGS ?=
ARGS ?=
# Number of test processes; `make test WORKERS=0 ARGS=--pdb` runs the tests in the main process.
WORKERS ?= 2
EXAMPLES ?= $(sort $(wildcard examples/*.py))
# With GALLERY=0, the documentation is built without running the examples.
GALLERY ?= 1
BENCH ?= $(sort $(wildcard benchmarks/[a-z]*.py))

# The modules that define public classes and functions, whose docstrings have to be complete.
PUBLIC_MODULES = $(wildcard $(addprefix skfm/,_base.py _regressor.py _classifier.py fitted/mixin.py fitted/posterior.py \
	datasets/_factorization.py datasets/_movielens.py datasets/_tables.py inspection/_explain.py inspection/_strength.py inspection/_*display.py \
	io/_model_file.py io/_libfm.py io/_libffm.py io/_libsvm.py nn/_layer.py nn/_lazy.py onnx/_export.py \
	streaming/_chunks.py streaming/_svmlight.py streaming/_arrow.py streaming/_parquet.py streaming/_read_ahead.py))

BIN = $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) -c $(CONSTRAINTS)

# The tests run in one thread, because they consist of small fits that several threads would slow down, and because
# results are then reproducible.
TEST_ENV = OMP_NUM_THREADS=1 SCIPY_ARRAY_API=1 MPLBACKEND=Agg

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two targets must not install into the same environment at the same time.
.NOTPARALLEL:
.PHONY: help demo test test-slow test-oldest doctest lint lint-style lint-format lint-spelling lint-docstrings
.PHONY: format types imports docs examples bench clean

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

# A stamp file for each extra of pyproject.toml, created when the extra is installed and outdated when the versions change.
$(VENV)/.installed-%: pyproject.toml $(CONSTRAINTS)
	@echo "Installing skfm[$*] into $(VENV), which can take a few minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) -e ".[$*]"
	@touch $@

demo: $(VENV)/.installed-examples
	@$(BIN)/python docs/run_examples.py examples/quickstart.py

test: $(VENV)/.installed-test
	@echo "Running the tests: each line ends with the share of them that has run"
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

test-slow:
	@$(MAKE) --no-print-directory test ARGS="-m slow $(ARGS)"

# The tests of the core, the layers and the training loop are left out, because these use torch and hardly anything of
# scikit-learn, numpy and pandas. The tests of the estimators run through all of them.
test-oldest:
	@$(MAKE) --no-print-directory test VENV=$(VENV_OLDEST) CONSTRAINTS=constraints-oldest.txt \
	    ARGS="--ignore=tests/core --ignore=tests/nn --ignore=tests/training $(ARGS)"

doctest: $(VENV)/.installed-test
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --doctest-modules --doctest-glob='*.rst' --doctest-glob='*.md' \
	    skfm README.md docs/index.rst docs/getting_started.rst docs/user_guide docs/development $(ARGS)

# The checks are separate targets, so that `make -k lint` shows the results of all of them.
lint: lint-style lint-format lint-spelling lint-docstrings

lint-style: $(VENV)/.installed-lint
	$(BIN)/ruff check .

lint-format: $(VENV)/.installed-lint
	$(BIN)/ruff format --check .

lint-spelling: $(VENV)/.installed-lint
	$(BIN)/codespell .

lint-docstrings: $(VENV)/.installed-lint
	$(BIN)/numpydoc lint $(PUBLIC_MODULES)

format: $(VENV)/.installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-lint
	$(BIN)/mypy

imports: $(VENV)/.installed-lint
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs
	GALLERY=$(GALLERY) $(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html"

examples: $(VENV)/.installed-examples
	@$(BIN)/python docs/run_examples.py $(EXAMPLES)

# The benchmarks have an environment of their own, into which the other libraries are installed.
bench:
	@$(MAKE) --no-print-directory bench-run VENV=$(VENV_BENCH)

.PHONY: bench-run
bench-run: $(VENV)/.installed-bench
	@set -e; for script in $(BENCH); do echo "$$script"; $(BIN)/python $$script $(ARGS); done

$(VENV)/.installed-bench: benchmarks/requirements.txt $(VENV)/.installed-examples
	@$(PIP_INSTALL) -r benchmarks/requirements.txt
	@touch $@

clean:
	rm -rf .venv .venv-oldest .venv-bench build dist docs/_build docs/auto_examples docs/generated
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find skfm tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
