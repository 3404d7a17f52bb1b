"""Bundles as MLflow's models: logged with their run, loaded as Python functions, the best of them registered."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import soundfile

from respeak import System
from respeak.pyfunc import Conversion
from respeak.systems.softvc.system import SoftVC
from speech.errors import AudioError, UserError
from stages.tracking.logged_models import directory_digest, find_models
from stages.tracking.model_registry import ALIAS, NAME, main
from stages.tracking.tracker import Tracker
from tests.respeak.tiny import make_bundle
from tests.respeak.tiny_softvc import make_softvc


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("systems") / "tiny")


def recording(seconds: float = 0.7, rate: int = 22050, kind: str = "FLAC") -> bytes:
    """A buzz that rises, in two channels, at a rate that is not ours."""
    time = np.arange(int(seconds * rate)) / rate
    wave = 0.3 * np.sign(np.sin(2 * np.pi * (120 + 40 * time) * time)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, np.stack([wave, 0.5 * wave], axis=1), rate, format=kind)
    return file.getvalue()


def table(*recordings: bytes) -> pd.DataFrame:
    return pd.DataFrame({"audio": list(recordings)})


def heard(data: bytes) -> np.ndarray:
    wave, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert (rate, wave.ndim) == (16000, 1)
    return wave


def test_a_table_of_recordings_is_converted_as_the_system_converts(bundle: Path) -> None:
    system, data = System.load(bundle, "cpu"), recording()
    made = Conversion(system).predict(table(data, recording(kind="WAV")), {"target": "theo"})["audio"]
    wave, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    expected = system.convert(wave.mean(axis=1), rate, "theo")
    np.testing.assert_allclose(heard(made[0]), np.clip(expected, -1, 1), atol=1 / 32000)
    assert len(heard(made[1])) == len(expected)
    higher = Conversion(system).predict(table(data), {"target": "theo", "semitones": 4.0})["audio"]
    assert not np.array_equal(heard(higher[0]), heard(made[0]))


def test_what_cannot_be_converted_is_named(bundle: Path) -> None:
    conversion = Conversion(System.load(bundle, "cpu"))
    with pytest.raises(UserError, match=r"say which voice .*jackson, nicolas, theo"):
        conversion.predict(table(recording()))
    with pytest.raises(UserError, match="speaker 'nobody'"):
        conversion.predict(table(recording()), {"target": "nobody"})
    with pytest.raises(AudioError, match="row 1: the recording: not a readable recording"):
        conversion.predict(table(recording(), b"no recording"), {"target": "theo"})


def test_soft_vc_has_one_voice_and_its_own_melody(tmp_path: Path) -> None:
    conversion = Conversion(SoftVC.load(make_softvc(tmp_path / "softvc-tiny"), "cpu"))
    assert len(heard(conversion.predict(table(recording()))["audio"][0])) > 8000
    with pytest.raises(UserError, match=r"^params: semitones: softvc takes no pitch \(.*resynthesis.*\)"):
        conversion.predict(table(recording()), {"semitones": 2.0})


def test_the_digest_of_a_folder_is_dvcs(bundle: Path, tmp_path: Path) -> None:
    from dvc.repo import Repo

    shutil.copytree(bundle, tmp_path / "tiny")
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        repo.add(str(tmp_path / "tiny"))
    assert f"md5: {directory_digest(bundle)}\n" in (tmp_path / "tiny.dvc").read_text()


def judge(digest: str, wer: float, speaker: float, **changes: str) -> None:
    """What stage ``evaluate`` reports of a conversion."""
    run = Tracker.open("evaluate", "conversion", {}, "smoke")
    heard = {"path": "data/demo/audio", "digest": "0" * 32 + ".dir", "size": 1, "files": 1, "made_by": "audio@demo"}
    run.log_inputs([heard], [digest])
    experiment = {"task": "conversion", "units": "own", "weights": "trained", "voices": "seen", "melody": "own"}
    run.log_params(
        {"experiment": {**experiment, "semitones": 0.0, "span": 1.0}, "judges": {"asr": "a judge"} | changes}
    )
    run.log_metrics({"wer": wer, "speaker_accuracy": speaker})
    run.log_metrics({"system/cpu_utilization_percentage": 50.0}, 0)  # which is no merit of the model's
    run.close()


def test_the_best_judged_model_is_registered_and_loads(
    bundle: Path, empty_project: Path, collector, capsys, monkeypatch
) -> None:
    """Three trainings: one speaks worse, one speaks best but as the wrong people; the third is chosen."""
    digests = {}
    for name, note in (("worse", "a"), ("chosen", "b"), ("stranger", "c")):
        shutil.copytree(bundle, empty_project / name / "tiny")
        (empty_project / name / "tiny" / "history.csv").write_text(note)
        run = Tracker.open("train_resynthesis", None, {}, "smoke")
        run.log_model(empty_project / name / "tiny")
        shutil.rmtree(empty_project / name)  # as DVC does before a stage runs again
        digests[name] = directory_digest(run.files / "models/tiny/bundle")
        run.close()
    judge(digests["stranger"], 1.0, 100.0, asr="another judge")
    judge(digests["worse"], 40.0, 95.0)
    judge(digests["chosen"], 30.0, 91.0)
    judge(digests["stranger"], 20.0, 50.0)
    collector.pass_over()
    (chosen,) = find_models(collector.client, collector.experiment, digests["chosen"])
    assert {metric.key: metric.value for metric in chosen.metrics} == {"wer": 30.0, "speaker_accuracy": 91.0}
    assert (chosen.name, chosen.tags["scale"], chosen.params["kmeans.k"]) == ("tiny", "smoke", "12")
    trained = collector.client.get_run(chosen.source_run_id)
    assert [output.model_id for output in trained.outputs.model_outputs] == [chosen.model_id]

    # The command is a process of its own; here it must not change where MLflow looks for the tests that follow.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    (empty_project / "elsewhere").mkdir()
    monkeypatch.chdir(empty_project / "elsewhere")
    assert main(["--root", str(empty_project)]) == 0
    assert main(["--root", str(empty_project)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert f"version 1, model {chosen.model_id}, one of 3 judged: WER 30.0 %" in said[0]
    assert "version 1 (as before)" in said[1]
    version = collector.client.get_model_version_by_alias(NAME, ALIAS)
    assert version.tags["wer"] == "30"
    assert main(["--root", str(empty_project), "--speaker", "99"]) == 2
    assert "the most is 95.0 %" in capsys.readouterr().err
    made = mlflow.pyfunc.load_model(f"models:/{NAME}@{ALIAS}").predict(table(recording()), params={"target": "theo"})
    expected = Conversion(System.load(bundle, "cpu")).predict(table(recording()), {"target": "theo"})
    assert made["audio"][0] == expected["audio"][0]
