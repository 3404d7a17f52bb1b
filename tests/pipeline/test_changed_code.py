"""Work that was stopped, and code that was edited before it is run again: checkpoints go on, shards are of one code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.stages.tiny_corpus import make_corpus

STEPS = 400
SHARDS = 24
COMMENT = "\n# A remark about nothing.\n"
STATEMENT = "\nREMARK = 'nothing'\n"


@pytest.fixture(scope="module")
def prepared(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its code, a corpus of some shards and parameters of a tiny training."""
    root = tmp_path_factory.mktemp("changed") / "project"
    for name in ("speech", "models", "respeak", "stages"):
        shutil.copytree(project / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(project / "dvc.yaml", root)
    make_corpus(root / "data/tiny", SHARDS, per_shard=1)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["roles"] = dict.fromkeys(params["roles"], "tiny")
    params["corpora"] = {"tiny": {"adapter": "folder", "root": "recordings"}}
    params["runtime"] |= {"threads": 1, "workers": 1, "device": "cpu"}
    loop = {
        "steps": STEPS,
        "batch_size": 2,
        "log_every": 10,
        "validate_every": 200,
        "checkpoint_every": 5,
        "workers": 0,
    }
    params["f0"]["method"] = "harvest"  # slow, so that a signal meets it at work
    params["train_f0_vq"]["model"] |= {"embedding_dim": 8, "width": 4, "depth": 1}
    params["train_f0_vq"]["loop"] |= loop
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return root


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(root), "RESPEAK_TRACKING": "local"}
    command = [sys.executable, "-m", f"stages.{arguments[0]}", *arguments[1:]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=root, env=environment, start_new_session=True, **pipes)


def stopped(root: Path, written: str, *arguments: str) -> str:
    """What a stage prints that is asked to stop once it has written such a file anew."""
    process, began, deadline = start(root, *arguments), time.time_ns(), time.monotonic() + 120
    while not any(path.stat().st_mtime_ns > began for path in root.glob(f".scratch/{written}")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + signal.SIGTERM, printed
    return printed


def finished(root: Path, *arguments: str) -> str:
    process = start(root, *arguments)
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == 0, printed
    return printed


def edit(root: Path, path: str, text: str) -> None:
    with (root / path).open("a") as file:
        file.write(text)


def test_a_checkpoint_goes_on_under_edited_code_and_says_so_if_it_does_something_else(prepared: Path) -> None:
    code, checkpoint = "models/resynthesis/f0_vq.py", "train_f0_vq/*/last.ckpt"
    stopped(prepared, checkpoint, "train_f0_vq")
    edit(prepared, code, COMMENT)
    printed = stopped(prepared, checkpoint, "train_f0_vq")
    assert "resuming after step " in printed
    assert "changed since" not in printed
    edit(prepared, code, STATEMENT)
    (folder,) = prepared.glob(".scratch/train_f0_vq/*")
    printed = finished(prepared, "train_f0_vq")
    line = next(line for line in printed.splitlines() if "changed since" in line)
    assert line.startswith(f"code of train_f0_vq changed since this checkpoint was begun ({code}); going on from step ")
    assert line.endswith(f"; delete {folder.relative_to(prepared)} to begin anew")
    assert "resuming after step " in printed and f"step {STEPS}/{STEPS}" in printed


def test_shards_outlive_a_comment_and_no_shard_meets_one_of_other_code(prepared: Path) -> None:
    stage, shards = ("f0", "--variant", "tiny"), "f0@tiny/*/reports/*.json"
    shutil.rmtree(prepared / "data/tiny/f0")
    stopped(prepared, shards, *stage)
    done = len(list(prepared.glob(f".scratch/{shards}")))
    assert 0 < done < SHARDS
    edit(prepared, "speech/pitch.py", COMMENT)
    assert f"{done} of {SHARDS} shards were finished before" in stopped(prepared, shards, *stage)
    edit(prepared, "speech/pitch.py", STATEMENT)
    assert "finished before" not in finished(prepared, *stage)
    assert len(list((prepared / "data/tiny/f0").glob("part-*.parquet"))) == SHARDS
