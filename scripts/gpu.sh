#!/usr/bin/env bash
# Train where a GPU is and nothing else: no DVC, no Prefect, no MLflow, no network. From the project's root,
#   scripts/gpu.sh pack FILE.tar     here, once what training reads is made: code, params.yaml and that data
#   scripts/gpu.sh train [SECONDS]   there, where FILE.tar was unpacked: all that trains in the graph and is not done
#   scripts/gpu.sh bring FOLDER      here: what `train` left in FOLDER/result, for DVC and MLflow to know
# Needed there: torch, lightning, pyarrow, safetensors, PyYAML; torchaudio for encoders of HuBERT's family; soundfile
# unless audio.codec is wav. What is missing may travel as wheels in a folder `wheels`. After SECONDS, or a signal,
# training stops at a checkpoint in .scratch, from which the same command goes on, on another machine too.
set -euo pipefail

export RESPEAK_TRACKING=local OMP_WAIT_POLICY=PASSIVE

pack() {
  local parts
  parts=$(python scripts/trainings.py pack)
  # What is not there is named by tar, which stops.
  # shellcheck disable=SC2086
  tar -cf "$1" --exclude=__pycache__ params.yaml dvc.yaml scripts/gpu.sh scripts/trainings.py \
    speech models respeak stages $parts $(ls -d wheels 2>/dev/null || true)
  echo "$1: $(du -h "$1" | cut -f1)"
}

train() {
  if compgen -G 'wheels/*.whl' >/dev/null; then
    python3 -m pip install -q --no-index --no-deps --upgrade --target .site wheels/*.whl
    export PYTHONPATH="$PWD/.site${PYTHONPATH:+:$PYTHONPATH}"
  fi
  local deadline=$((SECONDS + ${1:-1000000})) next path
  while :; do
    next=$(python3 scripts/trainings.py next)
    [ -n "$next" ] || break
    # shellcheck disable=SC2086
    stage "$deadline" $next
  done
  rm -rf result && mkdir -p result/.scratch
  while read -r path; do
    mkdir -p "result/$(dirname "$path")" && cp -R "$path" "result/$path"
  done < <(python3 scripts/trainings.py outs .)
  cp -R .scratch/runs result/.scratch/ 2>/dev/null || true
}

stage() {
  # The deadline is a signal, which a training stage answers with a checkpoint. To `timeout`, 0 is no limit.
  local left=$(($1 - SECONDS))
  timeout --preserve-status --kill-after=60 $((left > 0 ? left : 1)) python3 -m "stages.$2" ${3:+--variant "$3"}
}

bring() {
  local stages path
  stages=$(python scripts/trainings.py stages "$1/result")
  while read -r path; do rm -rf "$path"; done < <(python scripts/trainings.py outs "$1/result")
  cp -R "$1/result/." .
  # shellcheck disable=SC2086
  dvc commit --force $stages
  if [ -d .scratch/runs ]; then python -m stages.tracking.collector; fi
}

case "${1:-}" in
  pack | train | bring) "$@" ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
