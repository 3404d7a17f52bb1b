#!/usr/bin/env bash
# Train where a GPU is and nothing else: no DVC, no Prefect, no MLflow, no network. From the project's root,
#   scripts/gpu.sh pack FILE.tar     here, once units, F0 and speakers are made: code, params.yaml, what training reads
#   scripts/gpu.sh train [SECONDS]   there, where FILE.tar was unpacked: the F0 quantiser, then the vocoder
#   scripts/gpu.sh bring FOLDER      here: the systems that `train` left in FOLDER/result, for DVC and MLflow to know
# Needed there: torch, lightning, pyarrow, safetensors; soundfile unless audio.codec is wav. What is missing may travel
# as wheels in a folder `wheels`. After SECONDS, or a signal, training stops at a checkpoint in .scratch, from which
# the same command goes on, on another machine too.
set -euo pipefail

export RESPEAK_TRACKING=local OMP_WAIT_POLICY=PASSIVE

pack() {
  local parts
  parts=$(python - <<'PY'
from pathlib import Path
from stages.params.whole import load_params
roles = load_params().roles
names = dict.fromkeys([roles.train, roles.target])
parts = [f"data/{name}/{part}" for name in names for part in ("audio", "units", "f0", "speakers", "f0_stats.json")]
print(*[*parts, "encoder", "kmeans"])
PY
)
  # What is not there is named by tar, which stops.
  # shellcheck disable=SC2086
  tar -cf "$1" --exclude=__pycache__ params.yaml dvc.yaml scripts/gpu.sh speech models respeak stages $parts \
    $(ls -d wheels train_f0_vq .scratch/train_* 2>/dev/null || true)
  echo "$1: $(du -h "$1" | cut -f1)"
}

train() {
  if compgen -G 'wheels/*.whl' >/dev/null; then
    python3 -m pip install -q --no-index --no-deps --upgrade --target .site wheels/*.whl
    export PYTHONPATH="$PWD/.site${PYTHONPATH:+:$PYTHONPATH}"
  fi
  local deadline=$((SECONDS + ${1:-1000000}))
  [ -f train_f0_vq/model.safetensors ] || stage train_f0_vq "$deadline"
  stage train_resynthesis "$deadline"
  rm -rf result && mkdir -p result/.scratch && cp -R train_f0_vq systems result/
  cp -R .scratch/runs result/.scratch/ 2>/dev/null || true
}

stage() {
  # The deadline is a signal, which a training stage answers with a checkpoint. To `timeout`, 0 is no limit.
  local left=$(($2 - SECONDS))
  timeout --preserve-status --kill-after=60 $((left > 0 ? left : 1)) python3 -m "stages.$1"
}

bring() {
  rm -rf train_f0_vq systems/resynthesis
  cp -R "$1/result/." .
  dvc commit --force train_f0_vq train_resynthesis
  if [ -d .scratch/runs ]; then python -m stages.tracking.collector; fi
}

case "${1:-}" in
  pack | train | bring) "$@" ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
