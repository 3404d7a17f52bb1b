from __future__ import annotations

import dataclasses
import json
import pickle
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from models.judges.speaker_networks import XVector
from respeak.judges.digit_judge import DigitJudge
from respeak.judges.speaker_judge import SpeakerNetwork
from speech.audio.waveforms import Conditioning, condition, decode_audio, encode_audio
from speech.errors import UserError
from speech.judges import cache
from speech.judges.cache import Judge
from speech.judges.settings import ASR, Evaluate, Phonemes
from speech.pitch import extract_f0
from speech.storage.shards import AUDIO, F0, SYNTHESIS, read_rows, read_shard, shard_paths, write_shard
from stages import evaluate
from stages.judging import answers
from stages.judging.speaker_trials import embed_groups, plan_trials
from stages.params.corpora import Corpus, Roles
from stages.params.experiments import Experiment
from stages.params.whole import load_params
from stages.runtime import jobs
from stages.runtime.stage import Stage
from tests.respeak.tiny import random_classifier

SPEAKERS = ("jackson", "lucas", "theo")
DIGITS = ("zero", "three", "six", "eight")
NUMBERS = {"zero": 0, "three": 3, "six": 6, "eight": 8}
Row = dict[str, Any]
Change = Callable[[Row], Row | None]


class Silent:
    def log_params(self, params: dict[str, Any]) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        pass


class InProcess(ThreadPoolExecutor):
    """What worker processes do, without the seconds that each takes to load the judges; work still has to pickle."""

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        return super().submit(pickle.loads(pickle.dumps(function)), *pickle.loads(pickle.dumps(arguments)), **named)


@pytest.fixture(scope="module")
def corpus(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real digits of three men as the stages before leave them: takes 0 and 1 are test, 7 is training."""
    root = tmp_path_factory.mktemp("evaluated")
    recordings = shared / "data/free-spoken-digit-dataset/recordings"
    rows = [_utterance(recordings, *key) for key in ((s, d, t) for s in SPEAKERS for d in DIGITS for t in (0, 1, 7))]
    rows.sort(key=lambda row: row["id"])
    for index, half in enumerate((rows[:17], rows[17:])):
        write_shard(root / f"data/digits/audio/part-{index:05d}.parquet", half, AUDIO)
        write_shard(root / f"data/digits/f0/part-{index:05d}.parquet", half, F0)
    stats = {}
    for speaker in SPEAKERS:
        voiced = np.concatenate([row["f0"][row["f0"] > 0] for row in rows if row["speaker"] == speaker])
        stats[speaker] = {"log": {"mean": float(np.log(voiced).mean()), "std": float(np.log(voiced).std())}}
    (root / "data/digits/f0_stats.json").write_text(json.dumps(stats))
    return root


def _utterance(recordings: Path, speaker: str, digit: str, take: int) -> Row:
    wave, rate = soundfile.read(recordings / f"{NUMBERS[digit]}_{speaker}_{take}.wav", dtype="float32")
    settings = Conditioning(trim_db=40.0, normalise_peak=0.95, pad_multiple=1280, min_seconds=0.1, max_seconds=40.0)
    made = condition(wave, rate, settings)
    return {
        "id": f"{speaker}-{digit}-{take}",
        "speaker": speaker,
        "text": digit,
        "language": "en",
        "split": "train" if take == 7 else "test",
        "num_samples": len(made.wave),
        "num_speech": made.num_speech,
        "audio": encode_audio(made.wave, "flac"),
        "f0": extract_f0(made.wave, "dio"),
    }


@pytest.fixture()
def judge(corpus: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write the test split, changed, as what an experiment made, and judge it; gives metrics and utterances by id."""
    base = load_params(project / "params.yaml")
    (tmp_path / "data").symlink_to(corpus / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "open_executor", lambda runtime: InProcess(1))
    answers.corpus_texts.cache_clear()

    def call(
        task: str = "copy",
        change: Change = lambda row: row,
        prepare: Callable[[], None] = lambda: None,
        source: str = "",
        digits: str = "",
    ) -> Any:
        made = [row for row in map(change, sources()) if row is not None]
        write_shard(Path("synthesize/tried/part-00000.parquet"), made, SYNTHESIS)
        prepare()
        system = "recordings" if task == "copy" else "resynthesis"
        experiment = Experiment(system, "x", cast(Any, task), "own", "trained", source=source)
        judges = dataclasses.replace(base.evaluate, asr=ASR("pocketsphinx", "words"), speaker_seconds=2.0, bootstrap=50)
        params = dataclasses.replace(
            base,
            roles=Roles("digits", "digits", "digits", "digits"),
            corpora=dict.fromkeys(("digits", "chiffres"), Corpus("folder", "recordings")),
            f0=dataclasses.replace(base.f0, method="dio"),
            evaluate=dataclasses.replace(judges, digits=digits),
            experiments={"tried": experiment},
            tables={},
        )
        evaluate.run(Stage("evaluate", "tried", params, cast(Any, Silent())))
        rows = pq.read_table("evaluate/common/tried/utterances.parquet").to_pylist()
        return json.loads(Path("evaluate/common/tried/metrics.json").read_text()), {row["id"]: row for row in rows}

    return call


def sources() -> list[Row]:
    return [
        {
            "id": row["id"],
            "source_id": row["id"],
            "source_speaker": row["speaker"],
            "target_speaker": row["speaker"],
            "text": row["text"],
            "num_samples": row["num_speech"],
            "audio": encode_audio(decode_audio(row["audio"])[: row["num_speech"]], "flac"),
        }
        for row in real("test")
    ]


def real(split: str) -> list[Row]:
    return [row for row in read_rows("data/digits/audio") if row["split"] == split]


def test_recordings_are_recognised_and_have_no_f0_errors_to_report(judge: Any) -> None:
    metrics, rows = judge("copy")
    assert metrics["utterances"] == len(rows) == 24
    assert metrics["wer_low"] <= metrics["wer"] <= metrics["wer_high"]
    assert metrics["wer"] == pytest.approx(100 * sum(row["word_errors"] for row in rows.values()) / 24, abs=1e-3)
    assert metrics["wer"] < 40
    assert rows["theo-six-0"]["phones_said"] == "S IH K S"
    phones = sum(row["phones"] for row in rows.values())
    assert metrics["per"] == pytest.approx(100 * sum(row["phoneme_errors"] for row in rows.values()) / phones, abs=1e-3)
    assert metrics["per_low"] <= metrics["per"] < 100
    assert metrics["speaker_accuracy"] == 100.0
    assert metrics["eer"] == 0.0
    assert metrics["judges"]["asr"].startswith("pocketsphinx 5") and "mode words" in metrics["judges"]["asr"]
    assert not {"vde", "ffe", "gpe", "f0_rmse_cents", "f0_pcc", "stoi", "pesq", "mcd"} & metrics.keys()
    assert sorted(path.name for path in Path("evaluate/common/tried").iterdir()) == [
        "metrics.json",
        "trials.parquet",
        "utterances.parquet",
    ]
    trials = pq.read_table("evaluate/common/tried/trials.parquet").to_pylist()
    assert len(trials) == 3 * metrics["speaker_groups"]
    judged = {id_ for trial in trials for id_ in trial["utterances"].split()}
    assert judged == set(rows)


def test_unchanged_audio_is_not_judged_again(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = judge("resynthesis")
    monkeypatch.setattr(cache, "_loaded", {})
    monkeypatch.setattr(Judge, "__call__", lambda *heard: pytest.fail("judged again"))
    assert judge("resynthesis") == first


def test_only_what_changed_is_judged_again(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    judge("copy")
    heard: list[str] = []
    listen = Judge.__call__

    def note(self: Judge, *what: Any) -> Any:
        heard.append(self.settings["judge"])
        return listen(self, *what)

    monkeypatch.setattr(Judge, "__call__", note)
    _, rows = judge("copy", lambda row: row | ({"audio": quiet(row)} if row["id"] == "theo-six-0" else {}))
    assert rows["theo-six-0"]["hypothesis"] != "six"
    assert heard.count("pocketsphinx") == 1
    # The group of joined utterances that it is in.
    assert heard.count("resemblyzer") == 1


def test_unchanged_audio_has_hardly_an_f0_error_and_silence_loses_every_voiced_frame(judge: Any) -> None:
    metrics, rows = judge("resynthesis")
    assert metrics["vde"] < 2
    assert metrics["gpe"] < 2
    assert metrics["f0_pcc"] > 0.95
    assert metrics["mcd"] == 0
    assert metrics["pesq"] > 4.5
    # The measure wants 0.4 s of speech.
    assert 0 < sum(row["stoi"] is not None for row in rows.values()) < len(rows)
    assert metrics["stoi"] > 0.99
    metrics, rows = judge("resynthesis", lambda row: row | {"audio": quiet(row)})
    voiced = sum(row["voicing_errors"] for row in rows.values()) / sum(row["frames"] for row in rows.values())
    assert 0.2 < voiced < 0.9
    assert metrics["vde"] == metrics["ffe"] == pytest.approx(100 * voiced, abs=1e-3)
    assert "gpe" not in metrics
    assert metrics["wer"] > 60
    assert metrics["per"] > 90


def quiet(row: Row) -> bytes:
    noise = np.random.default_rng(0).standard_normal(row["num_samples"]).astype(np.float32)
    return encode_audio(1e-4 * noise, "flac")


def test_a_voice_that_stayed_the_sources_is_not_the_target(judge: Any) -> None:
    following = dict(zip(SPEAKERS, SPEAKERS[1:] + SPEAKERS[:1], strict=True))
    metrics, _ = judge("conversion", lambda row: row | {"target_speaker": following[row["source_speaker"]]})
    assert metrics["speaker_accuracy"] == 0.0
    assert metrics["eer"] > 30
    trials = Counter(row["trial"] for row in pq.read_table("evaluate/common/tried/trials.parquet").to_pylist())
    assert trials == {"enrolled": 3 * metrics["speaker_groups"], "converted": metrics["speaker_groups"]}
    assert "genuine_eer" not in metrics, "a voice with one joined recording has none to compare that with"
    assert metrics["vde"] < 2, "voicing does not depend on the target"
    assert metrics["f0_rmse_cents"] > 100
    assert not {"stoi", "pesq", "mcd"} & metrics.keys(), "another voice has nothing to be compared with"


def spoken_by_world(row: Row, semitones: float) -> bytes:
    """The recording with its F0 multiplied, by the vocoder WORLD."""
    import pyworld

    wave = decode_audio(row["audio"]).astype(np.float64)
    f0, times = pyworld.dio(wave, 16_000)
    envelope, noise = pyworld.cheaptrick(wave, f0, times, 16_000), pyworld.d4c(wave, f0, times, 16_000)
    spoken = pyworld.synthesize(f0 * 2 ** (semitones / 12), envelope, noise, 16_000)[: len(wave)]
    return encode_audio(np.pad(spoken, (0, len(wave) - len(spoken))).astype(np.float32), "flac")


def test_f0_raised_by_30_percent_is_every_frame_grossly_wrong_and_nothing_else(judge: Any) -> None:
    def theos(semitones: float) -> Change:
        return lambda row: row | {"audio": spoken_by_world(row, semitones)} if "theo" in row["id"] else None

    kept, _ = judge("resynthesis", theos(0.0))
    raised, _ = judge("resynthesis", theos(12 * np.log2(1.3)))
    assert kept["gpe"] < 3
    assert raised["gpe"] > 95
    assert raised["f0_rmse_cents"] == pytest.approx(1200 * np.log2(1.3), rel=0.1)
    assert raised["vde"] == pytest.approx(kept["vde"], abs=3)
    assert raised["ffe"] - raised["vde"] == pytest.approx(raised["gpe"] * voiced_share(), abs=3)
    assert raised["wer"] == pytest.approx(kept["wer"], abs=13), "one of eight words"
    assert raised["f0_pcc"] == pytest.approx(kept["f0_pcc"], abs=0.05)


def voiced_share() -> float:
    rows = pq.read_table("evaluate/common/tried/utterances.parquet").to_pylist()
    return sum(row["voiced_both"] for row in rows) / sum(row["frames"] for row in rows)


def test_swapped_speakers_move_the_speaker_metrics_alone(judge: Any) -> None:
    kept, _ = judge("copy")
    other = {"jackson": "lucas", "lucas": "jackson", "theo": "theo"}
    swapped, _ = judge("copy", lambda row: row | {"target_speaker": other[row["source_speaker"]]})
    assert kept["speaker_accuracy"] == 100.0
    groups = [
        row for row in pq.read_table("evaluate/common/tried/trials.parquet").to_pylist() if row["claimed"] == "theo"
    ]
    right = sum(row["intended"] == "theo" for row in groups) / len(groups)
    assert swapped["speaker_accuracy"] == pytest.approx(100 * right, abs=1e-3)
    assert swapped["eer"] > kept["eer"] + 30
    speakers = ("speaker", "eer")
    assert {k: v for k, v in swapped.items() if not k.startswith(speakers)} == {
        k: v for k, v in kept.items() if not k.startswith(speakers)
    }


def test_deleted_words_are_the_errors_that_are_added(judge: Any) -> None:
    """Every utterance is a word; in a quarter of them it is not said."""
    whole, before = judge("copy")
    cut, after = judge("copy", lambda row: row | ({"audio": quiet(row)} if "three" in row["id"] else {}))
    lost = [id_ for id_ in after if "three" in id_]
    assert len(lost) == 6
    assert {id_: row for id_, row in after.items() if id_ not in lost} == {
        id_: row for id_, row in before.items() if id_ not in lost
    }
    added = sum(1 - before[id_]["word_errors"] for id_ in lost)
    assert added >= 4
    assert cut["wer"] - whole["wer"] == pytest.approx(100 * added / 24, abs=1e-3)
    phones = sum(row["phones"] for row in after.values())
    silenced = sum(3 - before[id_]["phoneme_errors"] for id_ in lost)
    assert cut["per"] - whole["per"] == pytest.approx(100 * silenced / phones, abs=1e-3)


def test_utterances_without_text_are_counted_and_left_out(judge: Any, capfd: pytest.CaptureFixture[str]) -> None:
    metrics, rows = judge("copy", lambda row: row | {"text": None if "zero" in row["id"] else row["text"]})
    assert metrics["utterances_without_text"] == 6
    assert rows["theo-zero-0"]["words"] is None
    assert "6 utterances without text" in capfd.readouterr().err
    metrics, _ = judge("copy", lambda row: row | {"text": None})
    assert not {"wer", "cer", "per"} & metrics.keys()
    assert metrics["speaker_accuracy"] == 100.0
    assert "no test utterance has text" in capfd.readouterr().err


def test_an_experiment_speaks_its_own_source_whose_language_the_recogniser_may_not_hear(
    judge: Any, corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    french = corpus / "data/chiffres"
    for path in shard_paths(corpus / "data/digits/audio"):
        rows = [row | {"id": f"fr-{row['id']}", "language": "fr"} for row in read_shard(path)]
        write_shard(french / "audio" / path.name, rows, AUDIO)
    metrics, rows = judge(change=lambda row: row | {"source_id": f"fr-{row['source_id']}"}, source="chiffres")
    assert len(rows) == 24 and metrics["speaker_groups"] > 0
    assert "wer" not in metrics and all(row["hypothesis"] is None for row in rows.values())
    assert "no test utterance has text in a language that the recogniser hears" in capfd.readouterr().err


def test_sets_of_digits_are_compared_with_the_classifiers_training_recordings(judge: Any) -> None:
    train = [decode_audio(row["audio"])[: row["num_speech"]] for row in real("train")]
    metrics, rows = judge(digits=str(random_classifier(Path("classifier"), train)))
    features = np.stack([np.frombuffer(row["digit_features"], "<f4") for row in rows.values()]).astype(np.float64)
    assert features.shape == (24, 32)
    theirs = DigitJudge(Path("classifier"))(train).features
    product = np.cov(features, rowvar=False) @ np.cov(theirs, rowvar=False)
    shared = np.sqrt(np.linalg.eigvals(product).real.clip(min=0)).sum()
    apart = np.sum((features.mean(0) - theirs.mean(0)) ** 2) - 2 * shared
    distance = apart + features.var(0, ddof=1).sum() + theirs.var(0, ddof=1).sum()
    assert metrics["digit_fid"] == pytest.approx(distance, abs=1e-3)
    assert metrics["digit_fid_low"] <= metrics["digit_fid"] <= metrics["digit_fid_high"]
    assert {"inception_score", "modified_inception_score", "am_score", "am_score_low", "digit_accuracy"} <= set(metrics)
    assert metrics["judges"]["digits"] == "the classifier in classifier"
    quiet = np.random.default_rng(0).normal(0, 0.1, 16_000)
    noise, _ = judge(change=lambda row: row | {"audio": encode_audio(quiet, "flac")}, digits="classifier")
    assert noise["digit_fid"] > 10 * metrics["digit_fid"]


def test_pocketsphinx_hears_english_and_others_what_they_are_named_for(project: Path) -> None:
    network = ASR("ctc", "open", "a/french-one")
    judges = load_params(project / "params.yaml").evaluate
    assert judges.hearing("en") == judges.hearing("en-us") == judges.hearing("") == judges
    assert judges.hearing("fr") is None
    found = dataclasses.replace(judges, asr_of={"fr": network}).hearing("fr")
    assert found is not None and found.asr == network
    assert dataclasses.replace(judges, asr=ASR("whisper", "open", "a/model")).hearing("af") is not None


def test_a_speaker_with_one_utterance_is_judged(judge: Any) -> None:
    metrics, rows = judge("copy", lambda row: None if "theo" in row["id"] and row["id"] != "theo-six-0" else row)
    assert len(rows) == 17
    assert metrics["speaker_groups_too_short"] == 1


def test_damage_and_emptiness_are_said_in_one_line(judge: Any) -> None:
    with pytest.raises(UserError, match=r"synthesize/tried: holds no utterances"):
        judge("copy", lambda row: None)
    with pytest.raises(UserError, match=r"part-00000.parquet: utterance 'theo-six-0': .*damaged"):
        judge("copy", lambda row: row | ({"audio": row["audio"][:60]} if row["id"] == "theo-six-0" else {}))
    with pytest.raises(UserError, match=r"source 'other' is not in data/digits/audio"):
        judge("copy", lambda row: row | {"source_id": "other"})
    shard = Path("synthesize/tried/part-00000.parquet")
    with pytest.raises(UserError, match=r"part-00000.parquet: damaged shard"):
        judge("copy", prepare=lambda: shard.write_bytes(shard.read_bytes()[:5000]))


def test_speakers_by_another_network(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An x-vector network of random weights: its vectors are of the joined utterances, and they are what is scored."""
    (tmp_path / "data").symlink_to(corpus / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path))
    write_shard(Path("synthesize/tried/part-00000.parquet"), sources(), SYNTHESIS)
    made, parts = (Path("synthesize/tried"), [Path("data/digits")]), Path("parts")
    settings = Evaluate(ASR("pocketsphinx", "open"), Phonemes("none"), {}, [], {}, "xvector", 2.0, 0.2, "lag", 50)
    with pytest.raises(UserError, match=r"spkrec-xvect-voxceleb\.ckpt: not found; get "):
        plan_trials(*made, settings, 0, device="cpu")
    torch.manual_seed(0)
    torch.save(XVector().state_dict(), "spkrec-xvect-voxceleb.ckpt")
    plan = plan_trials(*made, settings, 0, device="cpu")
    for name, task in plan.tasks.items():
        embed_groups(task, parts / name)
    vectors = {row["id"]: np.array(row["embedding"]) for name in plan.tasks for row in read_shard(parts / name)}
    audio = {row["id"]: decode_audio(row["audio"]) for row in sources()}
    network = SpeakerNetwork("xvector", Path("spkrec-xvect-voxceleb.ckpt"))
    group = plan.groups[0]
    expected = network(np.concatenate([audio[clip.id] for clip in group.clips]))
    np.testing.assert_allclose(vectors[group.name], expected, atol=1e-6)
    enrolled = np.mean([vectors[g.name] for g in plan.enrolment if g.speaker == SPEAKERS[0]], axis=0)
    scored = plan.score(parts)
    assert scored.speakers[0] == SPEAKERS[0]
    assert scored.scores[0, 0] == pytest.approx(expected @ enrolled / np.linalg.norm(enrolled), abs=1e-5)
