"""Both training stages as programs, where nothing but torch, lightning, pyarrow and safetensors can be imported."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from models.encoders import build_encoder
from respeak.encoders.loading import save_encoder
from respeak.systems.resynthesis.bundle import ResynthesisBundle
from speech.audio.waveforms import decode_audio
from speech.errors import UserError
from stages import train_f0_vq, train_resynthesis
from stages.params.whole import load_params
from stages.runtime.stage import Stage
from stages.tracking.tracker import Tracker
from tests.stages.tiny_corpus import make_corpus

BLOCKED = [
    "soundfile",
    "librosa",
    "torchaudio",
    "pandas",
    "sklearn",
    "scipy",
    "pyworld",
    "soxr",
    "mlflow",
    "prefect",
    "dvc",
    "pydantic",
    "matplotlib",
    "resemblyzer",
    "pocketsphinx",
    "typer",
    "distributed",
]
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bare_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed packages without the blocked ones, so that looking for one finds nothing, as if never installed."""
    bare = tmp_path_factory.mktemp("packages")
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        name = re.split(r"[.-]", entry.name.lower())[0]
        if name not in {*BLOCKED, *sys.stdlib_module_names} and entry.suffix != ".pth":
            (bare / entry.name).symlink_to(entry)
    return bare


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workplace")
    make_corpus(root / "data" / "tiny", 12)
    (root / "kmeans").mkdir()
    save_file({"centroids": np.zeros((10, 39), np.float32)}, root / "kmeans" / "centroids.safetensors")
    (root / "kmeans" / "config.yaml").write_text("k: 10\nnormalise: speaker\n")
    encoder = {"kind": "mfcc", "layer": 0, "options": {}, "weights": "none"}
    save_encoder(root / "encoder", encoder, build_encoder(encoder))
    (root / "params.yaml").write_text(yaml.safe_dump(_params()))
    return root


def _params() -> dict[str, Any]:
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["roles"] = dict.fromkeys(params["roles"], "tiny")
    params["corpora"] = {"tiny": {"adapter": "folder", "root": "recordings"}}
    params["runtime"] |= {"threads": 1, "device": "cpu"}
    params["audio"]["codec"] = "wav"
    loop = {"steps": 4, "batch_size": 2, "log_every": 2, "validate_every": 2, "checkpoint_every": 2, "workers": 0}
    params["train_f0_vq"]["model"] |= {"embedding_dim": 8, "width": 4, "depth": 1}
    params["train_f0_vq"]["loop"] |= loop
    training = params["train_resynthesis"]
    training["loop"] |= loop
    training["adversarial_from_step"] = 2
    training["generator"] |= {
        "embedding_dim": 8,
        "initial_channels": 32,
        "resblock_kernels": [3],
        "resblock_dilations": [[1]],
    }
    training["discriminator"] = {"width": 0.0625, "periods": [2], "scales": 1}
    return params


def run(stage: str, root: Path, packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(PROJECT), str(packages)])
    environment = {**os.environ, "PYTHONPATH": path, "RESPEAK_TRACKING": "local"}
    # -S: without the interpreter's own site-packages.
    command = [sys.executable, "-S", "-m", f"stages.{stage}", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def test_both_stages_run_bare_and_make_a_bundle(workplace: Path, bare_packages: Path) -> None:
    for stage in ("train_f0_vq", "train_resynthesis"):
        done = run(stage, workplace, bare_packages)
        assert done.returncode == 0, done.stderr
        assert "step 4/4" in done.stdout
    bundle = ResynthesisBundle.load(workplace / "systems" / "resynthesis")
    assert list(bundle.speakers) == ["high", "low"]
    stats = json.loads((workplace / "data" / "tiny" / "f0_stats.json").read_text())
    assert bundle.speakers == stats
    assert bundle.config["kmeans"] == {"k": 10, "normalise": "speaker"}
    generator = bundle.generator()
    quantiser = generator.state_dict()["quantizer.codebook.initialised"]
    assert bool(quantiser), "the trained F0 quantiser is inside"
    with (workplace / "systems" / "resynthesis" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert rows[0]["train/loss_discriminator"] == ""
    assert float(rows[1]["train/loss_discriminator"]) > 0
    assert float(rows[1]["valid/loss_mel"]) > 0


def test_a_system_that_knows_voices_by_vectors(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(workplace, tmp_path / "place", ignore=shutil.ignore_patterns("systems", "train_f0_vq", ".scratch"))
    monkeypatch.chdir(tmp_path / "place")
    params = _params()
    params["train_resynthesis"] |= {"speaker": "vector", "adversarial_from_step": 9}
    params["train_resynthesis"]["generator"]["source"] = "harmonic"
    Path("params.yaml").write_text(yaml.safe_dump(params))
    for name, module in (("train_f0_vq", train_f0_vq), ("train_resynthesis", train_resynthesis)):
        module.run(Stage(name, None, load_params(), Tracker(tmp_path / "journal.jsonl", {})))
    bundle = ResynthesisBundle.load("systems/resynthesis")
    logged = tmp_path / "journal.files"
    assert ResynthesisBundle.load(logged / "models/resynthesis/bundle").config == bundle.config
    assert (logged / "models/resynthesis/code/respeak/pyfunc.py").is_file()
    heard = [decode_audio((logged / f"audio/0-{name}.wav").read_bytes()) for name in ("recording", "generated")]
    assert len(heard[0]) == len(heard[1]) == params["train_resynthesis"]["loop"]["segment_samples"]
    assert bundle.config["model"]["speaker_dim"] == 256
    assert sorted(bundle.vectors) == ["high", "low"]
    assert bundle.generator().speaker_f0[:, 0].tolist() == [220.0, 120.0]


def test_two_runs_of_one_seed_leave_the_same_bytes(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(workplace, tmp_path / "place", ignore=shutil.ignore_patterns("systems", "train_f0_vq", ".scratch"))
    monkeypatch.chdir(tmp_path / "place")
    left = []
    for time in range(2):
        for name, module in (("train_f0_vq", train_f0_vq), ("train_resynthesis", train_resynthesis)):
            module.run(Stage(name, None, load_params(), Tracker(tmp_path / f"{time}.jsonl", {})))
        files = [path for folder in ("train_f0_vq", "systems") for path in Path(folder).rglob("*") if path.is_file()]
        left.append({path: path.read_bytes() for path in files})
    assert {path.name for path in left[0]} > {"history.csv", "config.yaml", "model.safetensors"}
    assert left[0] == left[1]


def test_training_goes_where_the_gpu_is_and_comes_back(workplace: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(workplace, here, ignore=shutil.ignore_patterns("systems", "train_f0_vq", ".scratch"))
    for name in ("speech", "models", "respeak", "stages", "scripts"):
        shutil.copytree(PROJECT / name, here / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "dvc.yaml", here)
    there.mkdir()
    (tmp_path / "dvc").write_text('#!/bin/sh\necho "$@" > said\n')
    (tmp_path / "dvc").chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": ""}

    def gpu(place: Path, *arguments: str) -> int:
        command = ["bash", "scripts/gpu.sh", *arguments]
        return subprocess.run(command, cwd=place, env=environment, capture_output=True).returncode

    assert gpu(here, "pack", "../all.tar") == 0
    subprocess.run(["tar", "-xf", tmp_path / "all.tar", "-C", there], check=True)
    assert gpu(there, "train", "0") != 0 and not (there / "result").exists()
    assert gpu(there, "train") == 0
    assert gpu(here, "bring", "../there") == 0
    assert list(ResynthesisBundle.load(here / "systems/resynthesis").speakers) == ["high", "low"]
    assert (here / "said").read_text() == "commit --force train_f0_vq train_resynthesis\n"
    shutil.rmtree(here / "data/tiny/units")
    assert gpu(here, "pack", "../again.tar") != 0


def test_blocking_blocks(bare_packages: Path) -> None:
    program = f"import importlib.util as u; assert not [n for n in {BLOCKED!r} if u.find_spec(n)]; import pyarrow"
    environment = {**os.environ, "PYTHONPATH": str(bare_packages)}
    subprocess.run([sys.executable, "-S", "-c", program], env=environment, check=True)


def test_a_missing_input_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(_params()))
    monkeypatch.chdir(tmp_path)
    stage = Stage("train_resynthesis", None, load_params(), Tracker(tmp_path / "journal.jsonl", {}))
    with pytest.raises(UserError, match="data/tiny/audio") as error:
        train_resynthesis.run(stage)
    assert "\n" not in str(error.value)
