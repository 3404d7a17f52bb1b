"""Inputs of stages with DVC's digests, compared with DVC itself; what a stage takes of the machine."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import yaml

from stages.params.whole import load_params
from stages.runtime.declared import declared_deps
from stages.tracking.lineage import Dataset, judged_bundles, read_inputs
from stages.tracking.machine_load import Sampler, watched
from stages.tracking.tracker import Tracker


@pytest.fixture(scope="module")
def params(project: Path) -> dict:
    return dataclasses.asdict(load_params(project / "params.yaml"))


def test_templates_are_filled_as_dvc_fills_them(project: Path, params: dict) -> None:
    from dvc.repo import Repo

    with Repo(os.fspath(project)) as repo:
        stages = {stage.addressing: {d.def_path for d in stage.deps} for stage in repo.index.stages}
    assert len(stages) > 30
    for name, deps in stages.items():
        stage, _, variant = name.partition("@")
        # DVC counts parameters among what a stage depends on, and names twice what the graph does.
        assert set(declared_deps(stage, variant or None, params)) == deps - {"params.yaml"}, name


def test_a_stage_for_each_of_a_list_is_named_by_what_it_is_for(params: dict) -> None:
    """``soft_units`` has a list of corpora, which is empty by default."""
    deps = declared_deps("soft_units", "sung", params | {"soft_units": {"corpora": ["sung"], "encoder": "taught"}})
    assert deps[:2] == ["data/sung/audio", "taught"]


def entry(deps: dict[str, str], outs: dict[str, str]) -> dict:
    def records(items: dict[str, str]) -> list[dict]:
        return [{"path": path, "hash": "md5", "md5": md5, "size": 7, "nfiles": 2} for path, md5 in items.items()]

    return {"cmd": "true", "deps": records(deps), "outs": records(outs)}


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = {"stages/corpus.py": "c0de"}
    stages = {
        "corpus@demo": entry({"speech/corpora/prompts": "a0.dir", **code}, {"data/demo/corpus": "a1.dir"}),
        "audio@demo": entry(
            {"speech/corpora/prompts": "old.dir", "data/demo/corpus": "a1.dir"}, {"data/demo/audio": "a2.dir"}
        ),
        "train_resynthesis": entry({"data/demo/audio": "a2.dir"}, {"systems/resynthesis": "a3.dir"}),
        "synthesize@conversion": entry({"systems/resynthesis": "a3.dir"}, {"synthesize/conversion": "a4.dir"}),
    }  # fmt: skip
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


@pytest.mark.usefixtures("locked")
def test_inputs_have_the_digests_of_the_lock(params: dict) -> None:
    assert read_inputs("corpus", "demo", params) == []
    recordings = Dataset("speech/corpora/prompts", "a0.dir", 7, 2, "")
    assert read_inputs("audio", "demo", params) == [
        Dataset("data/demo/corpus", "a1.dir", 7, 2, "corpus@demo"),
        recordings,
    ]
    features = read_inputs("features", "demo", params)
    assert features == [Dataset("data/demo/audio", "a2.dir", 7, 2, "audio@demo")]
    assert judged_bundles(features) == []
    assert judged_bundles(read_inputs("synthesize", "conversion", params)) == ["a3.dir"]
    assert judged_bundles(read_inputs("evaluate", "conversion", params)) == ["a3.dir"]
    # The report's inputs are folders of outputs.
    assert {"systems/resynthesis", "synthesize/conversion"} == {d.path for d in read_inputs("report", None, params)}


def test_nothing_recorded_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: dict) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_inputs("kmeans", None, params) == []


def test_the_machine_is_sampled_under_mlflows_names() -> None:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    found, theirs = Sampler().sample(), dict[str, float]()
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        theirs |= monitor.aggregate_metrics()
    assert theirs.keys() == found.keys() - {"stage_memory_megabytes"}
    for name in ("disk_usage_percentage", "disk_available_megabytes", "system_memory_usage_megabytes"):
        assert found[name] == pytest.approx(theirs[name], rel=0.05)


def test_memory_is_that_of_the_stage_and_its_workers() -> None:
    import subprocess
    import sys

    sampler = Sampler()
    before = sampler.sample()["stage_memory_megabytes"]
    script = "held = bytearray(b'x' * 150_000_000); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdin
        child.stdout.readline()
        assert sampler.sample()["stage_memory_megabytes"] - before > 150
        child.stdin.close()


def test_a_short_stage_is_sampled_once_and_a_long_one_in_between(tmp_path: Path, monkeypatch) -> None:
    import time

    from stages.tracking import machine_load

    class Heard(Tracker):
        def __init__(self) -> None:
            self.steps: list[int | None] = []

        def log_metrics(self, metrics, step=None) -> None:
            assert all(name.startswith("system/") for name in metrics)
            self.steps.append(step)

    short, long = Heard(), Heard()
    with watched(short):
        pass
    assert short.steps == [0]
    monkeypatch.setattr(machine_load, "SECONDS", 0.05)
    with watched(long):
        while len(long.steps) < 3:
            time.sleep(0.01)
    assert long.steps[:4] == [0, 1, 2, 3]


def test_gpus_are_watched_as_mlflow_watches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none here: NVIDIA's library is played, for MLflow's monitor and for ours."""
    import sys
    from types import SimpleNamespace

    played = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=4e9 + gpu * 1e9, total=16e9),
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=75 + gpu),
        nvmlDeviceGetPowerUsage=lambda gpu: 100_000,
        nvmlDeviceGetEnforcedPowerLimit=lambda gpu: 200_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", played)
    from mlflow.system_metrics.metrics import gpu_monitor

    monkeypatch.setattr(gpu_monitor, "pynvml", played, raising=False)
    theirs = gpu_monitor.GPUMonitor()
    theirs.collect_metrics()
    expected = {name: value for name, value in theirs.aggregate_metrics().items() if "power" not in name}
    found = {name: value for name, value in Sampler().sample().items() if name.startswith("gpu_")}
    assert len(found) == 6
    assert found == pytest.approx(expected)
