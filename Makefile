# Everything a newcomer needs: `make reproduce` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
# Hydra overrides, as in `make reproduce S="scale=smoke"`; params.yaml is composed anew from conf/ with them.
S ?=
OVERRIDES := $(foreach override,$(S),-S '$(override)')

# The grid of `make sweep`, and constants beside it, as in G="kmeans.k=50,100,200 scale=smoke".
G ?=

# Waiting OpenMP threads that spin make two busy neighbours many times slower.
export OMP_WAIT_POLICY := PASSIVE
# Nothing here calls home.
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
# dvc.yaml says `python`: the one of the environment.
export PATH := $(BIN):$(PATH)

.PHONY: help setup reproduce plan sweep test unit pipeline lint types format params tables mlflow register serve prefect \
	deploy worker clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo 'Variables: S="scale=smoke seed=7" (what reproduce, plan and params compose), PYTHON=python3.12, VENV=.venv'

# The stamp is newer than what it was made from, so that nothing is installed twice.
STAMP := $(VENV)/.installed
setup: $(STAMP) ## build .venv from constraints.txt: the whole graph, its judges and the tests
$(STAMP): constraints.txt pyproject.toml scripts/fit_torchaudio.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; say make PYTHON=/path/to/a/newer/python" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# webrtcvad is built from source and imports pkg_resources when used: both want setuptools below 81.
	$(BIN)/python -m pip install --quiet -c constraints.txt pip setuptools wheel
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[pipeline,dev]'
	$(BIN)/python scripts/fit_torchaudio.py
	$(BIN)/python -m flows.database
	@touch $@

reproduce: setup ## run the graph, end with the measured table   (S="scale=smoke" for another size)
	$(BIN)/python -m flows.reproduce $(OVERRIDES)

plan: setup ## what `make reproduce` would run, and what it takes   (scale=paper corpus=vctk, or S="...")
	$(BIN)/python -m flows.planning.plan $(OVERRIDES) $(foreach group,scale corpus encoder,$(if $($(group)),-S '$(group)=$($(group))'))

sweep: setup ## a grid of parameters as experiments, compared   (G="kmeans.k=50,100,200")
	$(BIN)/python -m flows.sweep $(G)

test: lint types ## lint, types, all tests
	$(BIN)/python -m pytest -n auto

unit: setup ## the tests of code alone
	$(BIN)/python -m pytest -n auto --ignore tests/pipeline

pipeline: setup ## the tests of stages as processes: killed, served, scheduled
	$(BIN)/python -m pytest -n auto tests/pipeline

lint: setup ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy
	$(BIN)/mypy

format: setup ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

params: setup ## compose params.yaml from conf/'s defaults, or with S="..."
	$(BIN)/python -m flows.graph $(S)

tables: ## print the measured tables
	@cat tables/*/table.md 2>/dev/null || echo 'no tables yet: make reproduce'

mlflow: setup ## every run, in a browser at http://127.0.0.1:5000
	$(BIN)/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/mlflow.db

register: setup ## name the best judged conversion model in MLflow: respeak-conversion@best
	$(BIN)/python -m stages.tracking.model_registry

serve: setup ## that model over HTTP at http://127.0.0.1:5001: a recording in, a recording out
	MLFLOW_TRACKING_URI=$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db} $(BIN)/mlflow models serve \
		--env-manager local --host 127.0.0.1 --port 5001 --model-uri models:/respeak-conversion@best

prefect: setup ## flow graphs and logs, in a browser at http://127.0.0.1:4200
	@mkdir -p .prefect
	PREFECT_SERVER_DATABASE_CONNECTION_URL=sqlite+aiosqlite:///$(CURDIR)/.prefect/prefect.db $(BIN)/prefect server start

.PHONY: docs
docs: setup ## the documentation as static files in site/, from this repository alone
	NO_MKDOCS_2_WARNING=1 "$(BIN)/python" -m mkdocs build --strict --quiet

# The server of `make prefect`, or the user's own.
SERVED := PREFECT_API_URL=$(or $(PREFECT_API_URL),http://127.0.0.1:4200/api)
deploy: setup ## register prefect.yaml's schedules with the server of `make prefect`
	$(SERVED) $(BIN)/python -m flows.deployments

worker: setup ## do what is due by those schedules, until Ctrl-C
	$(SERVED) $(BIN)/prefect worker start --pool respeak --limit 1

clean: ## remove what the graph made (outputs, scratch, runs); DVC's cache and the environment stay
	rm -rf data encoder kmeans train_f0_vq train_soft_units train_acoustic train_vocoder finetune_vocoder systems synthesize evaluate tables reports sweeps .scratch .prefect mlflow.db mlartifacts
