"""Facts beside the stages: complete, light, and right where lists kept by hand were wrong."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from flows.planning import step_benchmark
from speech.judges.settings import ASR, Phonemes
from stages.facts import all_facts, all_systems, facts_of, wants_gpu
from stages.facts.corpus_sizes import size_of
from stages.facts.scene import Scene
from stages.facts.trials import SpeedTrial
from stages.params.corpora import Corpus
from stages.params.whole import Params, load_params
from stages.runtime.declared import variants_of

ROOT = Path(__file__).resolve().parents[2]
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ON_PROCESSOR = {"corpus", "audio", "encoder", "f0", "f0_stats", "speakers", "softvc", "tables", "report", "evaluate"}
ON_GPU = {"features", "kmeans", "units", "unit_quality", "soft_units", "synthesize"}  # beside what trains


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml")


def test_every_stage_has_facts_and_all_facts_are_of_a_stage() -> None:
    assert all_facts().keys() == GRAPH.keys()


def test_they_are_light_to_ask() -> None:
    heavy = ("torch", "numpy", "pandas", "pyarrow", "dvc")
    program = (
        "import sys; from stages.facts import facts_of; assert facts_of('train_acoustic@soft').trains; "
        f"assert not sys.modules.keys() & set({heavy!r}), sys.modules.keys() & set({heavy!r})"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_what_trains_is_what_runs_a_trainer() -> None:
    runs_one = {name for name in GRAPH if "stages.training" in (ROOT / f"stages/{name}.py").read_text()}
    assert {name for name, facts in all_facts().items() if facts.trains} == runs_one
    assert not facts_of("somebody's own").trains


def test_which_stages_want_a_gpu(params: Params) -> None:
    for stage in GRAPH:
        for variant in variants_of(stage, yaml.safe_load((ROOT / "params.yaml").read_text())):
            name = f"{stage}@{variant}" if variant else stage
            apart = stage in ON_PROCESSOR or name == "synthesize@ground_truth"
            # A new system's stage that does not train says for itself where it works.
            if apart or stage in ON_GPU or facts_of(stage).trains:
                assert wants_gpu(name, params) == (not apart), name
            assert not wants_gpu(name, replace(params, runtime=replace(params.runtime, device="cpu"))), name


@pytest.mark.parametrize(
    "judges",
    [
        {"asr": ASR("whisper", "open", "small")},
        {"phonemes": Phonemes("ctc", "folder")},
        {"asr_of": {"fr": ASR("ctc", "open", "folder")}},
        {"quality": ["stoi", "utmos"]},
        {"speaker_judge": "ecapa"},
        {"digits": "train_digit_classifier/own"},
    ],
    ids=lambda judges: next(iter(judges)),
)
def test_an_evaluation_with_a_network_among_its_judges(params: Params, judges: dict[str, object]) -> None:
    assert wants_gpu("evaluate@resynthesis", replace(params, evaluate=replace(params.evaluate, **judges)))


def test_sizes_are_the_corpora_own_words_until_there_is_a_manifest(tmp_path: Path) -> None:
    from speech.storage.manifest import write_manifest

    assert size_of(tmp_path, "vctk", Corpus("vctk", "VCTK-Corpus-0.92")).seconds == 44 * 3600
    two = Corpus("librispeech", "LibriSpeech", {"subsets": ["train-clean-100", "test-other"]})
    assert size_of(tmp_path, "l", two).utterances == 28_539 + 2_939
    # Measured: 400 utterances of 622 s, 80 of 146 s.
    demo = Corpus("demo", "prompts", {"voices": "all", "sentences": 30, "digits": 20})
    assert size_of(tmp_path, "demo", demo).seconds == pytest.approx(622, rel=0.05)
    assert size_of(tmp_path, "mine", Corpus("folder", "nowhere")) is None
    row = dict.fromkeys(("id", "path", "speaker", "split"), "a") | {"language": "en", "text": None, "phones": None}
    rows = [row | {"sample_rate": 8000, "num_samples": 16_000}]
    write_manifest(tmp_path / "data" / "mine" / "corpus", tmp_path, rows, [])
    (tmp_path / "params.yaml").write_text("corpora: {mine: {adapter: folder, root: nowhere, options: {}}}\n")
    assert size_of(tmp_path, "mine", Corpus("folder", "nowhere")).seconds == 2.0
    assert size_of(tmp_path, "mine", Corpus("folder", "elsewhere")) is None


def test_synthesis_takes_what_the_experiments_own_system_takes(tmp_path: Path, params: Params) -> None:
    """A system's trials, of an experiment that only says its name: Soft-VC was priced as resynthesis once."""
    tasks = {"ours": ("resynthesis", "conversion"), "soft": ("softvc", "conversion"), "vocoded": ("softvc", "vocode")}
    source = {"source": "demo"}
    experiments = {name: SimpleNamespace(system=s, task=task, **source) for name, (s, task) in tasks.items()}
    scene = Scene(tmp_path, replace(params, experiments=params.experiments | experiments))  # type: ignore[arg-type]
    tried: list[str] = []

    def time(trial: SpeedTrial) -> float:
        tried.append(trial.key)
        return 10.0

    scene = replace(scene, time_speed=time)
    seconds = {name: facts_of("synthesize").work(scene, name) / scene.synthesized(name)[0] for name in tasks}
    assert seconds == {"ours": pytest.approx(0.1), "soft": pytest.approx(0.3), "vocoded": pytest.approx(0.1)}
    assert tried == ["resynthesis", "encoder", "acoustic synthesis", "mel vocoder synthesis"]
    for experiment in tasks:
        for trial in all_systems()[experiments[experiment].system](scene, experiment):
            assert step_benchmark.time_speed(trial) > 0
