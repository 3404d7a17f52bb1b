"""Data stages killed at random moments and run again: nothing finished is made twice, and the bits are the same."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

STAGES = (["features", "--variant", "digits"], ["f0", "--variant", "digits"], ["kmeans"])
OUTPUTS = {"features": "data/digits/features", "f0": "data/digits/f0", "kmeans": "kmeans"}
MOST_KILLS = 3


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
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    for arguments in (["corpus", "--variant", "digits"], ["audio", "--variant", "digits"], ["encoder"]):
        finish(stage(root, *arguments))
    assert len(list((root / "data/digits/audio").glob("part-*.parquet"))) >= 8
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def parts(project: Path, name: str) -> dict[str, int]:
    """Finished files of a stage at work, each with the inode it has."""
    found = (project / ".scratch").glob(f"{name}*/*/parts/*.parquet")
    return {path.name: path.stat().st_ino for path in found if not path.name.startswith(".")}


def killed_until_done(project: Path, arguments: list[str], rng: np.random.Generator) -> tuple[int, dict[str, int]]:
    """Kill the whole group at random moments, ever later; how often it was hit, and the files that survived."""
    survived: dict[str, int] = {}
    for kills in range(MOST_KILLS):
        process = stage(project, *arguments)
        deadline = time.monotonic() + rng.uniform(0.5, 1.5) * (1 + kills)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.poll() is not None:
            finish(process)
            return kills, survived
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        now = parts(project, arguments[0])
        assert now.items() >= survived.items()
        survived = now
    finish(stage(project, *arguments))
    return MOST_KILLS, survived


def test_killed_stages_end_in_the_same_bits(prepared: Path) -> None:
    disturbed = prepared.with_name("disturbed")
    shutil.copytree(prepared, disturbed)
    rng = np.random.default_rng(7)
    total = 0
    for arguments in STAGES:
        name = arguments[0]
        finish(stage(prepared, *arguments))
        kills, survived = killed_until_done(disturbed, arguments, rng)
        total += kills
        output = disturbed / OUTPUTS[name]
        assert contents(output) == contents(prepared / OUTPUTS[name])
        # A finished file is linked into its place, not made again.
        assert all((output / file).stat().st_ino == inode for file, inode in survived.items())
        assert not list((disturbed / ".scratch").glob(f"{name}*/*"))
    assert total >= len(STAGES)


def test_a_changed_input_meets_no_old_shard(prepared: Path) -> None:
    """Killed on one audio, finished on another: every output file is that of the other."""
    changed = prepared.with_name("changed")
    shutil.copytree(prepared, changed, ignore=shutil.ignore_patterns("features", "f0", "kmeans"))
    process = stage(changed, "f0", "--variant", "digits")
    deadline = time.monotonic() + 60
    while not parts(changed, "f0") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
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
