"""Grids as experiments, and what was measured in them side by side: by DVC's planning, without running anything."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from flows.experiments import Experiment, check_plots, finished, forget_dead, named_metrics, plan, running
from flows.reproduction import find_dvc_program
from flows.sweep import describe, main
from speech.errors import UserError
from stages.reporting import sweep_comparison

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A git repository with the project's parameters, a corpus in git, and no more."""
    root = tmp_path_factory.mktemp("sweep")
    (root / "conf").symlink_to(ROOT / "conf")
    (root / "speech" / "corpora" / "prompts").mkdir(parents=True)
    (root / "speech" / "corpora" / "prompts" / "digits.txt").write_text("one\n")
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for command in (["git", "init", "-q"], [find_dvc_program(), "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=root, check=True)
    (root / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    subprocess.run([*git, "commit", "-qm", "begin"], cwd=root, check=True)
    return root


@pytest.fixture(scope="module")
def planned(repository):
    return plan(repository, ["kmeans.k=50,100", "encoder.layer=0,6", "scale=smoke"])


def test_a_grid_is_every_combination_under_its_own_name(repository, planned):
    assert [dict(e.varied) for e in planned] == [
        {"kmeans.k": "50", "encoder.layer": "0"},
        {"kmeans.k": "50", "encoder.layer": "6"},
        {"kmeans.k": "100", "encoder.layer": "0"},
        {"kmeans.k": "100", "encoder.layer": "6"},
    ]
    assert planned[3].overrides == ("kmeans.k=100", "encoder.layer=6", "scale=smoke")
    assert (planned[3].params["kmeans"]["k"], planned[3].params["encoder"]["layer"]) == (100, 6)
    assert planned[3].params["scale"] == "smoke"
    assert planned[0].name.startswith("k50-layer0-")
    assert len({e.name for e in planned}) == 4
    # The same work has the same name again; other targets make it other work.
    (again,) = plan(repository, ["kmeans.k=100", "encoder.layer=6", "scale=smoke"])
    assert again.name.rpartition("-")[2] == planned[3].name.rpartition("-")[2]
    (other,) = plan(repository, ["kmeans.k=100", "encoder.layer=6", "scale=smoke"], ["units@demo"])
    assert other.name != again.name


def test_changed_code_is_another_experiment(repository, planned):
    source = repository / "speech" / "audio.py"
    source.write_text("x = 1\n")
    (changed, *_) = plan(repository, ["kmeans.k=50,100", "encoder.layer=0,6", "scale=smoke"])
    source.unlink()
    assert changed.name != planned[0].name


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (["units.k=50,100"], "did you mean .*kmeans.k"),
        (["kmeans.k=50,1"], "k must be between 2 and 65535"),
        (["kmeans.k=50,many"], "kmeans.k"),
        (["scale=smoke,huge"], "huge"),
        (["kmeans.k=50,"], "kmeans.k=50,"),
        (["corpus=fsdd"], "give an absolute path"),
        ([], "needs parameters"),
    ],
)
def test_what_cannot_be_is_one_line(repository, grid, words):
    with pytest.raises(UserError, match=words) as error:
        plan(repository, grid)
    assert "\n" not in str(error.value)


def test_experiments_need_a_commit(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(UserError, match="commit your work first"):
        finished(tmp_path)


def test_dry_run_says_what_is_finished(repository, planned, monkeypatch, capsys):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    commit = head.stdout.strip()
    ref = f"refs/exps/{commit[:2]}/{commit[2:]}/{planned[1].name}"
    subprocess.run(["git", "update-ref", ref, commit], cwd=repository, check=True)
    assert finished(repository) == {planned[1].name}
    assert "3 of 4 experiments to run" in describe(planned, finished(repository))
    monkeypatch.chdir(repository)
    assert main(["kmeans.k=50,100", "encoder.layer=0,6", "scale=smoke", "--dry-run"]) == 0
    assert "3 of 4 experiments to run" in capsys.readouterr().out
    assert main(["units.k=50"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    subprocess.run(["git", "update-ref", "-d", ref], cwd=repository, check=True)


def test_targets_without_which_dvc_saves_no_experiment_are_refused(empty_project):
    """As in a fresh clone: a folder that is plotted is in dvc.lock, and nowhere else."""
    folder = {"cmd": "mkdir table; echo 1 > table/a.csv", "outs": ["table"]}
    stages = {"table": folder, "other": {"cmd": "echo 1 > other.txt", "outs": ["other.txt"]}}
    for plots in (["table/a.csv"], [{"named": {"x": {"table/a.csv": "x"}, "y": {"table/a.csv": "y"}}}]):
        (empty_project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages, "plots": plots}))
        check_plots(empty_project, ["other"])
        subprocess.run([find_dvc_program(), "repro"], check=True, capture_output=True)
        check_plots(empty_project, ["other"])
        shutil.rmtree(".dvc/cache")
        with pytest.raises(UserError, match="saves no experiment without table,"):
            check_plots(empty_project, ["other"])
        check_plots(empty_project, ["other", "table"])
        check_plots(empty_project, [])
        check_plots(empty_project, ["with-other-parameters-alone"])
        Path("dvc.lock").unlink()


def test_copies_of_dead_processes_go_and_others_stay(tmp_path):
    base = tmp_path / ".dvc" / "tmp" / "exps" / "standalone"
    for name, pid in (("dead", 2**22 + 1), ("alive", os.getpid())):
        (base / f"tmp-{name}").mkdir(parents=True)
        note = base / "run" / name
        note.mkdir(parents=True)
        info = {"name": name, "root_dir": os.fspath(base / f"tmp-{name}")}
        (note / f"{name}.run").write_text(json.dumps(info))
        (note / f"{name}.json").write_text(json.dumps({"pid": pid}))
    assert running(tmp_path) == {"alive": os.getpid()}
    forget_dead(tmp_path)
    assert sorted(path.name for path in base.iterdir()) == ["run", "tmp-alive"]
    assert [path.name for path in (base / "run").iterdir()] == ["alive"]


def experiment(k: int, layer: int, params: dict) -> Experiment:
    changed = {**params, "kmeans": {**params["kmeans"], "k": k}}
    return Experiment(f"k{k}-layer{layer}", (), {"kmeans.k": str(k), "encoder.layer": str(layer)}, changed)


def test_comparison_has_every_digit_and_every_experiment():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    experiments = [experiment(k, layer, params) for k in (50, 200) for layer in (6, 7)]
    files = {
        "evaluate/polyak1/resynthesis/metrics.json": {"wer": 12.3457, "wer_low": 10.0, "wer_high": 15.0},
        "evaluate/common/ground_truth/metrics.json": {"wer": 3.0},
        "evaluate/common/shuffled/metrics.json": {"wer": 99.0},
    }
    metrics = {e.name: named_metrics(files) for e in experiments[:3]}
    metrics[experiments[2].name]["resynthesis/wer"] = 11.5
    table = sweep_comparison.markdown(experiments, metrics, "Sweep")
    assert "| k50-layer6 | 50 | 6 | 362 | 12.3 [10.0, 15.0] |" in table
    assert "not finished" in table
    assert "99.0" not in table
    rows = list(csv.DictReader(io.StringIO(sweep_comparison.to_csv(experiments, metrics))))
    assert [row["resynthesis/wer"] for row in rows] == ["12.3457", "12.3457", "11.5", ""]
    assert [row["bit_rate"] for row in rows] == ["362.5", "362.5", "462.5", "462.5"]
    assert rows[0]["shuffled/wer"] == "99.0"
    lines = sweep_comparison.lines(experiments, metrics)
    assert lines["resynthesis, encoder.layer=6"] == [(362.5, 12.3457, 10.0, 15.0), (462.5, 11.5, 10.0, 15.0)]
    assert len(lines["resynthesis, encoder.layer=7"]) == 1
    assert sweep_comparison.figure(experiments, metrics).axes[0].get_xlabel() == "units and F0, bit/s"


def test_rate_is_the_papers_arithmetic():
    """HuBERT's 50, 100 and 200 units are 300, 350 and 400 bit/s; F0 adds 12.5 tokens of 5 bits."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    rates = [sweep_comparison.bit_rate(experiment(k, 6, params).params) for k in (50, 100, 200)]
    assert rates == [300 + 62.5, 350 + 62.5, 400 + 62.5]
    params["train_resynthesis"] = {**params["train_resynthesis"], "use_f0": False}
    assert sweep_comparison.bit_rate(params) == 350
