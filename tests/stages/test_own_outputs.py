"""What an experiment has measured itself, beside a real ``dvc.lock``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml
from dvc.utils.serialize import parse_yaml

from stages.tracking.own_outputs import own_outputs

STAGES = {
    "units": {"cmd": "cp params.yaml units", "params": ["kmeans.k", "train"], "outs": ["units"]},
    "other": {"cmd": "echo 1 > other", "deps": ["code.py"], "outs": ["other"]},
    "one": {"cmd": "cp units one", "deps": ["units"], "metrics": ["one"]},
    "two": {"cmd": "cp units two", "deps": ["units"], "metrics": ["two"]},
}
DVC = [sys.executable, "-m", "dvc"]


def own(root: Path) -> set[str]:
    lock, params = (parse_yaml((root / name).read_text(), name) for name in ("dvc.lock", "params.yaml"))
    return own_outputs(lock, params, root)


def repro(*targets: str) -> None:
    subprocess.run([*DVC, "repro", *targets], check=True, capture_output=True)


def test_what_others_have_measured_is_not_its_own(empty_project: Path) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([*DVC, "init", "-q"], check=True)
    (empty_project / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    (empty_project / "code.py").write_text("a = 1\n")
    for k in (1, 2):
        (empty_project / "params.yaml").write_text(f"kmeans: {{k: {k}}}\ntrain: {{rate: 2e-05}}\n")
        if k == 1:
            repro()
            assert own(empty_project) == {"units", "other", "one", "two"}
        else:
            assert own(empty_project) == {"other"}  # nothing has run with the new value yet
    repro("one")
    assert own(empty_project) == {"units", "other", "one"}
    (empty_project / "code.py").write_text("a = 2\n")
    assert own(empty_project) == {"units", "one"}
    repro()
    assert own(empty_project) == {"units", "other", "one", "two"}
