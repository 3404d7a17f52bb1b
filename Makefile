# Everything a newcomer needs: `make reproduce` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV ?= .venv
# May hold spaces, as every path here: make's own functions would split it.
BIN := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(VENV)/bin
RUN := "$(BIN)/python" -m
# Hydra overrides, as in `make reproduce S="scale=smoke"`; params.yaml is composed anew from conf/ with them.
S ?=
# The grid of `make sweep`, and constants beside it, as in G="kmeans.k=50,100,200 scale=smoke".
G ?=
# What `make tables` prints: T=polyak1 one of them, ALL=1 every row and column.
T ?=
ALL ?=
# LOCKED=no installs by the versions of constraints.txt alone: for a platform whose files the locks do not name.
LOCKED ?= yes

# The words of a variable as ${args[@]}, each after a flag; quotes within hold: S="scale=smoke 'roles.train=my voice'".
arguments = args=(); found="$$(printf '%s\n' "$$$(1)" | xargs -n 1 printf '%s\n')" || exit 2; \
	while IFS= read -r word; do [ -z "$$word" ] || args+=($(2) "$$word"); done <<< "$$found";
export S G

# Waiting OpenMP threads that spin make two busy neighbours many times slower.
export OMP_WAIT_POLICY := PASSIVE
# Nothing here calls home.
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
# dvc.yaml says `python`: the one of the environment.
export PATH := $(BIN):$(PATH)

.PHONY: help setup lock repository reproduce plan sweep test unit pipeline lint types format params tables mlflow \
	register serve prefect deploy worker clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12
	@echo 'Variables: S="scale=smoke seed=7" (what reproduce, plan and params compose), PYTHON=python3.12, VENV=.venv,'
	@echo '           LOCKED=no (versions without hashes, for a platform that the locks do not know)'

# The stamp is newer than what it was made from, so that nothing is installed twice. Locked packages are installed by
# their hashes alone; torch after them, as pip finds it: which build is right depends on the machine.
empty :=
STAMP := $(subst $(empty) ,\ ,$(VENV))/.installed
PIP := $(RUN) pip install --quiet
setup: $(STAMP) ## build .venv from the locks: the whole graph, its judges and the tests
$(STAMP): requirements.lock requirements-build.lock constraints.txt pyproject.toml scripts/fit_torchaudio.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; run make PYTHON=/path/to/a/newer/python" >&2; exit 2; }
	test -x "$(BIN)/python" || $(PYTHON) -m venv "$(VENV)"
ifeq ($(LOCKED),no)
	$(PIP) -c constraints.txt pip setuptools wheel
	$(PIP) -c constraints.txt -e '.[pipeline,dev]'
else
	$(PIP) --require-hashes --no-deps -r requirements-build.lock
	$(PIP) --require-hashes --no-deps --no-build-isolation -r requirements.lock
	$(PIP) -c constraints.txt torch
	PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation -e .
endif
	$(RUN) pip check
	"$(BIN)/python" scripts/fit_torchaudio.py
	@touch "$(VENV)/.installed"

lock: setup ## write the locks anew: constraints.txt's versions with the hashes of all their files
	$(PIP) -c constraints.txt uv
	@for lock in '--group build -o requirements-build.lock' \
		'--extra pipeline --extra dev --no-emit-package torch pyproject.toml -o requirements.lock'; do \
		$(RUN) uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
			--custom-compile-command 'make lock' -c constraints.txt $$lock || exit; done

# DVC and the flow work in a git repository; a downloaded archive is none.
repository:
	@test -e .git || { echo "error: no git repository here, and the graph is run in one (an archive holds none):" \
		"git init && git add --all && git commit --message 'Respeak'" >&2; exit 2; }

reproduce: setup repository ## run the graph, end with the measured table   (S="scale=smoke" for another size)
	@$(call arguments,S,-S) $(RUN) flows.reproduce "$${args[@]}"

plan: setup repository ## what `make reproduce` would run, and what it takes   (scale=paper corpus=vctk, or S="...")
	@$(call arguments,S,-S) $(RUN) flows.planning.plan "$${args[@]}" \
		$(foreach group,scale corpus encoder,$(if $($(group)),-S '$(group)=$($(group))'))

sweep: setup repository ## a grid of parameters as experiments, compared   (G="kmeans.k=50,100,200")
	@$(call arguments,G) $(RUN) flows.sweep "$${args[@]}"

test: lint types ## lint, types, all tests: about ten minutes on two cores
	$(RUN) pytest -n auto

unit: setup ## all tests but those of pipeline
	$(RUN) pytest -n auto --ignore tests/pipeline

pipeline: setup ## the tests of stages as processes: killed, served, scheduled
	$(RUN) pytest -n auto tests/pipeline

lint: setup ## ruff
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: setup ## mypy
	$(RUN) mypy

format: setup ## let ruff rewrite the code
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

params: setup ## compose params.yaml from conf/'s defaults, or with S="..."
	@$(call arguments,S) $(RUN) flows.compose "$${args[@]}"

tables: setup ## print the measured tables   (T=polyak1 one of them, ALL=1 every row and column)
	@$(RUN) respeak.results $(T) $(if $(ALL),--all)

mlflow: setup ## every run, in a browser at http://127.0.0.1:5000
	$(RUN) mlflow ui --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db"

register: setup ## name the best judged conversion model in MLflow: respeak-conversion@best
	$(RUN) stages.tracking.model_registry

serve: setup ## that model over HTTP at http://127.0.0.1:5001: a recording in, a recording out
	MLFLOW_TRACKING_URI="$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db}" $(RUN) mlflow models serve \
		--env-manager local --host 127.0.0.1 --port 5001 --model-uri models:/respeak-conversion@best

prefect: setup ## flow graphs and logs, in a browser at http://127.0.0.1:4200
	@mkdir -p .prefect
	PREFECT_SERVER_DATABASE_CONNECTION_URL="sqlite+aiosqlite:///$(CURDIR)/.prefect/prefect.db" $(RUN) prefect server start

.PHONY: docs
docs: setup ## the documentation as static files in site/, from this repository alone
	NO_MKDOCS_2_WARNING=1 "$(BIN)/python" -m mkdocs build --strict --quiet

# The server of `make prefect`, or the user's own.
SERVED := PREFECT_API_URL=$(or $(PREFECT_API_URL),http://127.0.0.1:4200/api)
deploy: setup ## register prefect.yaml's schedules with the server of `make prefect`
	$(SERVED) $(RUN) flows.deployments

worker: setup ## do what is due by those schedules, until Ctrl-C
	$(SERVED) $(RUN) prefect worker start --pool respeak --limit 1

clean: ## remove what the graph made (outputs, scratch, runs, sweeps); DVC's cache and the environment stay
	"$(BIN)/python" scripts/clean.py
