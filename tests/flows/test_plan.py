"""What a run takes, and what stops it before it begins."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import reproduce
from flows.compose import compose
from flows.graph import Node, touched
from flows.planning import plan, preflight, step_benchmark
from flows.planning.costs import cost, hours
from flows.planning.preflight import missing
from flows.reproduction import find_dvc_program
from speech.errors import UserError
from stages.facts import all_facts, facts_of
from stages.facts.scene import Scene
from stages.facts.trials import Step
from stages.params.whole import load_params

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Any parameters, on a machine that holds nothing; what would be tried is given."""

    def of(*overrides: str) -> Scene:
        root = tmp_path_factory.mktemp("plan")
        compose(ROOT, overrides, root / "params.yaml")
        step = Step(seconds=1.0, flops=1e9, memory=1e8, weights=1000)
        tried = {"encoder": 10.0, "vocoder": step, "vocoder alone": step, "resynthesis": 20.0, "f0 vq": step}
        return Scene(root, load_params(root / "params.yaml"), tried)

    return of


def test_disk_is_arithmetic(scene):
    paper = scene("scale=paper", "corpus=vctk")

    def disk(stage: str) -> float:
        return facts_of(stage).disk(paper, "vctk")

    assert disk("features") == 44 * 3600 * 50 * 768 * 2
    assert disk("audio") == 44 * 3600 * 29_000
    assert disk("nonsense") == 0


def test_every_stage_is_in_the_plan(scene):
    graph = {name: Node(f"{name}@demo", (), True) for name in all_facts()}
    small = scene("scale=smoke")
    running = {"corpus@demo": graph["corpus"], "train_resynthesis": graph["kmeans"], "brand_new": graph["kmeans"]}
    lines = list(plan.estimate(small, running, tflops=2.0))
    assert any(line.startswith("brand_new") and "not estimated" in line for line in lines)
    assert any("training at 2 TFLOP/s" in line for line in lines)
    found = cost(small, "train_resynthesis")
    assert found.training == small.params.train_resynthesis.loop.steps
    assert hours(found, small.params) * 3600 == pytest.approx(found.training + 4.0)


def test_only_what_changed_and_what_hangs_on_it_runs():
    graph = {"a": Node("a", (), False), "b": Node("b", ("a",), True), "c": Node("c", ("b",), False)}
    assert touched(graph) == ["b", "c"]


def test_a_step_is_counted_as_it_is(scene):
    """Arithmetic is proportional to the batch, the discriminators add theirs, and nothing is left held."""
    smoke = scene("scale=smoke")
    phases = facts_of("train_resynthesis").training(smoke, "")
    assert sum(phase.steps for phase in phases) == smoke.params.train_resynthesis.loop.steps
    before, after = (step_benchmark.time_step(phase.trial) for phase in phases)
    assert after.flops > 2 * before.flops > 0
    assert after.memory > before.memory > 16 * before.weights
    assert after.seconds > 0
    alive = step_benchmark._Alive()
    import torch

    weight = torch.ones(1000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(alive.pack, lambda held: held.tensor):
        product = weight * torch.full((1000,), 2.0)
        loss = (product * product).sum()
    assert alive.now == alive.most >= 4000
    loss.backward()
    del loss, product
    assert alive.now == 0


def test_missing_things_are_named_together(scene, monkeypatch):
    paper = scene("scale=paper", "corpus=vctk")
    problems = list(missing(paper, ["corpus@vctk", "encoder", "features@vctk"]))
    assert len(problems) == 2
    assert "corpora.vctk.root" in problems[0]
    assert "respeak corpus download vctk" in problems[0]
    assert "encoder.sha256 is not set" in problems[1]
    assert not list(missing(paper, ["units@vctk"]))
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    assert "12.2 GB of disk are needed, 1 GB are free" in next(iter(missing(paper, ["features@vctk"])))


def test_nothing_starts_where_something_is_missing(tmp_path, monkeypatch, capsys):
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([find_dvc_program(), "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    monkeypatch.chdir(tmp_path)
    assert reproduce.main(["-S", "corpus=vctk"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: nothing was started: corpora.vctk.root: VCTK-Corpus-0.92 not found")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / ".scratch" / "runs").exists()
    with pytest.raises(UserError, match="nothing was started"):
        preflight.check(tmp_path, {"corpus@vctk": Node("corpus@vctk", (), True)})
    preflight.check(tmp_path, {"corpus@vctk": Node("corpus@vctk", (), False)})
    # A look leaves params.yaml as it was.
    before = (tmp_path / "params.yaml").read_text()
    assert reproduce.main(["--dry-run", "-S", "corpus=ljspeech"]) == 0
    assert "corpus@ljspeech" in capsys.readouterr().out
    assert (tmp_path / "params.yaml").read_text() == before
