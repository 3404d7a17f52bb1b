"""Stages killed at random moments and run again: nothing finished is made twice, and the bits are the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.cluster import local_cluster

STAGES = (["features", "--variant", "digits"], ["f0", "--variant", "digits"], ["kmeans"])
OUTPUTS = {"features": "data/digits/features", "f0": "data/digits/f0", "kmeans": "kmeans"}
MOST_KILLS = 3
ITERATION = {"teacher": "mfcc", "path": "models/encoders/spectral.py", "layer": 0, "k": 12, "steps": 60}
TINY_HUBERT = {
    "layers": 1,
    "heads": 2,
    "dim": 16,
    "feed_forward": 32,
    "conv_channels": 20,
    "position_kernel": 8,
    "position_groups": 2,
    "front_end": "log_mel",
}


def stage(project: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A stage as DVC starts it, in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(project), "RESPEAK_TRACKING": "local"}
    command = [sys.executable, "-m", f"stages.{arguments[0]}", *arguments[1:]]
    return subprocess.Popen(command, cwd=project, env=environment, start_new_session=True, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages.decode()


@pytest.fixture(scope="module")
def prepared(shared: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose corpus of real digits lies in a dozen small shards, with its encoder."""
    root = tmp_path_factory.mktemp("pipeline") / "project"
    for name in ("speech", "models", "respeak", "stages"):
        shutil.copytree(project / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(project / "dvc.yaml", root)
    recordings = shared / "data/free-spoken-digit-dataset/recordings"
    for path in sorted(recordings.glob("*_[1-4].wav"))[::6]:
        speaker = root / "digits" / path.stem.split("_")[1]
        speaker.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, speaker)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["corpora"] = {"digits": {"adapter": "folder", "root": "digits", "options": {}}}
    params["roles"] = dict.fromkeys(params["roles"], "digits")
    params["runtime"] |= {"shard_minutes": 0.03, "workers": 1}
    params["kmeans"] |= {"k": 20, "init_frames": 500, "batch_frames": 100}
    params["pretrain"] |= {"iterations": {"first": {**ITERATION, "warm_start": False}}, "model": TINY_HUBERT}
    params["pretrain"]["clusters"] |= {"init_frames": 500, "passes": 1}
    params["pretrain"]["loop"] |= {"batch_size": 2, "segment_samples": 6400, "workers": 0, "precision": "32-true"}
    params["pretrain"]["loop"] |= {"log_every": 10, "validate_every": 20, "checkpoint_every": 2}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    for arguments in (["corpus", "--variant", "digits"], ["audio", "--variant", "digits"], ["encoder"]):
        finish(stage(root, *arguments))
    assert len(list((root / "data/digits/audio").glob("part-*.parquet"))) >= 8
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def parts(project: Path, job: str) -> dict[str, int]:
    """Finished files of a job at work, those with a report, each with the inode it has."""
    reports = (project / ".scratch").glob(f"{job}/reports/*.json")
    found = [report.parents[1] / "parts" / report.stem for report in reports]
    return inodes(found)


def inodes(paths: Iterable[Path]) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in paths if path.exists()}


def wait_for_work(process: subprocess.Popen[bytes], scratch: Path, pattern: str) -> None:
    """Until the process has written a file which matches ``pattern``, or has ended."""
    began, deadline = time.time_ns(), time.monotonic() + 120
    while process.poll() is None:
        assert time.monotonic() < deadline, f"nothing was written to {scratch}/{pattern}"
        with contextlib.suppress(FileNotFoundError):
            written = (path for path in scratch.glob(pattern) if not path.name.startswith("."))
            if any(path.stat().st_mtime_ns > began for path in written):
                return
        time.sleep(0.002)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def killed_until_done(
    project: Path, arguments: list[str], rng: np.random.Generator, seconds: float
) -> tuple[int, dict[str, int]]:
    """Kill the whole group at random moments of its work; how often it was hit, and the files that survived.

    Shard work is hit after it has begun, k-means (which keeps nothing before its end) within its ``seconds``.
    """
    survived: dict[str, int] = {}
    name, output = arguments[0], project / OUTPUTS[arguments[0]]
    for kills in range(MOST_KILLS):
        process = stage(project, *arguments)
        if name == "kmeans":
            time.sleep(rng.uniform(0.1, 0.7) * seconds)
        else:
            wait_for_work(process, project / ".scratch", f"{name}*/**/*")
            time.sleep(rng.uniform(0, 0.1) * (1 + kills))
        if process.poll() is not None:
            finish(process)
            return kills, survived
        kill(process)
        now = parts(project, f"{name}*/*") | inodes(output.glob("*"))
        assert now.items() >= survived.items()
        survived = now
        if output.is_dir():  # killed after its last step: there is nothing left to do
            return 1 + kills, survived
    finish(stage(project, *arguments))
    return MOST_KILLS, survived


def test_killed_stages_end_in_the_same_bits(prepared: Path) -> None:
    disturbed = prepared.with_name("disturbed")
    shutil.copytree(prepared, disturbed)
    rng = np.random.default_rng(7)
    for arguments in STAGES:
        name = arguments[0]
        began = time.monotonic()
        finish(stage(prepared, *arguments))
        kills, survived = killed_until_done(disturbed, arguments, rng, time.monotonic() - began)
        assert kills, f"{name} was never hit"
        output = disturbed / OUTPUTS[name]
        assert contents(output) == contents(prepared / OUTPUTS[name])
        # A finished file is linked into its place, not made again.
        assert all((output / file).stat().st_ino == inode for file, inode in survived.items())


def test_killed_pretraining_ends_in_the_same_weights(prepared: Path) -> None:
    """Killed once while it labels the corpus, and twice while it trains."""
    disturbed = prepared.with_name("pretraining")
    shutil.copytree(prepared, disturbed)
    finish(stage(prepared, "pretrain", "--variant", "first"))
    scratch = disturbed / ".scratch"
    labels: dict[str, int] = {}
    for written in ("*/*/view/making-units/job/reports/*.json", "*/*/last.ckpt", "*/*/last.ckpt"):
        process = stage(disturbed, "pretrain", "--variant", "first")
        wait_for_work(process, scratch, written)
        assert process.poll() is None, "it was to be killed at work"
        kill(process)
        now = parts(disturbed, "*/*/view/making-units/job") | inodes(scratch.glob("*/*/view/units/part-*.parquet"))
        assert now and now.items() >= labels.items()
        labels = now
    finish(stage(disturbed, "pretrain", "--variant", "first"))
    for name in ("model.safetensors", "config.yaml"):
        assert (disturbed / "pretrain/first" / name).read_bytes() == (prepared / "pretrain/first" / name).read_bytes()


def test_a_stage_over_a_cluster_ends_in_the_same_bits(prepared: Path) -> None:
    """Two workers, one of them killed when the first shard is there."""
    pytest.importorskip("distributed", reason="Dask is not installed")
    here, there = prepared.with_name("here"), prepared.with_name("there")
    for project in (here, there):
        shutil.copytree(prepared, project, ignore=shutil.ignore_patterns("features", "f0", "kmeans", "pretrain"))
    finish(stage(here, "f0", "--variant", "digits"))
    with local_cluster(there, there) as cluster:
        params = yaml.safe_load((there / "params.yaml").read_text())
        params["runtime"]["cluster"] = cluster.address
        (there / "params.yaml").write_text(yaml.safe_dump(params))
        process = stage(there, "f0", "--variant", "digits")
        wait_for_work(process, there / ".scratch", "f0*/*/reports/*.json")
        assert process.poll() is None, "a worker was to be killed at work"
        cluster.workers[0].kill()
        finish(process)
    assert contents(there / "data/digits/f0") == contents(here / "data/digits/f0")


def test_a_changed_input_meets_no_old_shard(prepared: Path) -> None:
    """Killed on one audio, finished on another: every output file is that of the other."""
    changed = prepared.with_name("changed")
    shutil.copytree(prepared, changed, ignore=shutil.ignore_patterns("features", "f0", "kmeans"))
    process = stage(changed, "f0", "--variant", "digits")
    wait_for_work(process, changed / ".scratch", "f0*/*/reports/*.json")
    kill(process)
    params = yaml.safe_load((changed / "params.yaml").read_text())
    params["audio"]["normalise_peak"] = 0.5
    params["f0"]["ceil_hz"] = 150.0
    (changed / "params.yaml").write_text(yaml.safe_dump(params))
    finish(stage(changed, "audio", "--variant", "digits"))
    fresh = prepared.with_name("fresh")
    shutil.copytree(changed, fresh, ignore=shutil.ignore_patterns(".scratch"))
    for project in (changed, fresh):
        finish(stage(project, "f0", "--variant", "digits"))
    assert contents(changed / "data/digits/f0") == contents(fresh / "data/digits/f0")
