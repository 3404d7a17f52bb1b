"""The digit classifier: its front end and sizes, and the stage on a few real digits."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from models.judges.resnext import DigitClassifier
from respeak.judges.digit_judge import DigitJudge, digit_judge, read_real
from respeak.judges.panel import Panel
from speech.audio.waveforms import encode_audio, resample
from speech.errors import UserError
from speech.judges.cache import Answers, Recording
from speech.judges.digit_mel import WORDS, digit_mel, one_second
from speech.judges.settings import ASR, Phonemes
from speech.metrics.frechet import fit_gaussian, frechet_distance
from speech.metrics.summary import digit_metrics
from speech.storage.shards import AUDIO, write_shard
from stages import train_digit_classifier
from stages.data.digit_clips import ClipBatches, read_clips
from stages.params.corpora import Corpus
from stages.params.digit_classifier import DigitSizes, DigitVariant, TrainDigitClassifier
from stages.params.training import Loop, Optimiser
from stages.params.whole import load_params
from stages.runtime.stage import Stage

PROJECT = Path(__file__).resolve().parents[2]
DIGITS = (0, 6)


class Silent:
    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: None


def test_the_front_end_is_torchaudios() -> None:
    rng = np.random.default_rng(0)
    wave = (rng.standard_normal(16_000) * np.hanning(16_000) ** 4).astype(np.float32)
    sizes: dict[str, Any] = {"n_fft": 2048, "hop_length": 512, "n_mels": 32, "pad_mode": "constant"}
    mel = torchaudio.transforms.MelSpectrogram(16_000, norm="slaney", mel_scale="slaney", **sizes)
    theirs = torchaudio.transforms.AmplitudeToDB(top_db=80)(mel(torch.from_numpy(wave))).numpy()
    ours = digit_mel(torch.from_numpy(wave)[None]).numpy()
    assert ours.shape == (1, 1, 32, 32)
    np.testing.assert_allclose(ours[0, 0], theirs - theirs.max(), atol=0.02)


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        model = DigitClassifier()
        assert model.features(torch.zeros(2, 1, 32, 32)).shape == (2, 1024)
        assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    # Xie et al. 2017, table 7: 34.4 million for ResNeXt-29, 8x64d (three input channels, ten classes).
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(34.4e6, rel=0.005)


@pytest.mark.parametrize("length", [1, 8000, 16_000, 40_001])
def test_a_second_holds_what_fits_into_it(length: int) -> None:
    wave = np.arange(1, length + 1, dtype=np.float32)
    for place in (0.0, 0.3, 1.0):
        second = one_second(wave, place)
        assert len(second) == 16_000
        kept = second[second > 0]
        assert len(kept) == min(length, 16_000)
        assert np.all(np.diff(kept) == 1)


@pytest.fixture(scope="module")
def corpus(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real zeros and sixes of two men: takes 5 to 24 are training, 0 to 2 test, 3 and 4 validation."""
    rows = []
    for speaker in ("jackson", "theo"):
        for digit in DIGITS:
            for take in range(25):
                path = shared / f"data/free-spoken-digit-dataset/recordings/{digit}_{speaker}_{take}.wav"
                wave, rate = soundfile.read(path, dtype="float32")
                wave = resample(wave, rate)
                split = "test" if take < 3 else "valid" if take < 5 else "train"
                name = {"id": f"{digit}-{speaker}-{take:02d}", "speaker": speaker, "text": WORDS[digit], "split": split}
                sizes = {"num_samples": len(wave), "num_speech": len(wave)}
                rows.append({**name, **sizes, "language": "en", "audio": encode_audio(wave, "flac"), "phones": None})
    rows.append({**rows[-1], "id": "word", "text": "hello", "split": "train"})
    root = tmp_path_factory.mktemp("digits")
    write_shard(root / "data/digits/audio/part-00000.parquet", rows, AUDIO)
    return root


@pytest.fixture()
def digits(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(corpus)
    return corpus


@pytest.fixture(scope="module")
def trained(corpus: Path) -> Path:
    """What the stage makes of the corpus."""
    with pytest.MonkeyPatch.context() as context:
        context.chdir(corpus)
        train()
    return corpus / "train_digit_classifier/own"


def train(steps: int = 80) -> None:
    base = load_params(PROJECT / "params.yaml")
    spec = TrainDigitClassifier(
        {"own": DigitVariant("digits")},
        DigitSizes(11, 2, 4, 1, 8),
        Optimiser(0.003, [0.9, 0.99], 0.01, 1.0, 1),
        Loop(steps, 16, 16_000, 20, 20, 20, 0, "32-true"),
    )
    corpora = {**base.corpora, "digits": Corpus("folder", "recordings")}
    runtime = dataclasses.replace(base.runtime, threads=1)
    params = dataclasses.replace(base, runtime=runtime, corpora=corpora, train_digit_classifier=spec)
    train_digit_classifier.run(Stage("train_digit_classifier", "own", params, cast(Any, Silent())))


def test_a_few_real_digits_are_learnt(digits: Path, trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "own"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test_recordings"] == 12
    assert metrics["test_accuracy"] >= 90
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert float(rows[-1]["valid/loss_digits"]) < float(rows[0]["train/loss_digits"])
    judge = digit_judge(str(folder))
    assert judge is not None
    clips = read_clips(digits / "data/digits/audio", "test")
    answers = [judge(Recording(encode_audio(clip.wave, "wav"), "x")) for clip in clips]
    right = [answer["digit_heard"] == WORDS[clip.digit] for answer, clip in zip(answers, clips, strict=True)]
    assert 100 * np.mean(right) == pytest.approx(metrics["test_accuracy"])
    # One by one or many at once, and by the network itself.
    together = DigitJudge(folder)([clip.wave for clip in clips])
    for answer, logs, features in zip(answers, together.logs, together.features, strict=True):
        assert answer["digit_log_probabilities"] == pytest.approx(logs.tolist(), abs=1e-4)
        assert answer["digit_features"] == pytest.approx(features.tolist(), abs=1e-4)
        assert len(features) == 4 * 8 and np.exp(logs).sum() == pytest.approx(1, abs=1e-5)
    evaluate = load_params(PROJECT / "params.yaml").evaluate
    asked = dataclasses.replace(
        evaluate, asr=ASR("pocketsphinx", "words"), phonemes=Phonemes("none"), digits=str(folder)
    )
    panel = Panel(asked, {"method": "dio"}, ("zero", "six"), Answers(None))
    recording = Recording(encode_audio(clips[0].wave, "wav"), "x")
    texts = (WORDS[clips[0].digit], "nine", "hello", None)
    rows = [{"digits_right": None} | panel.judge(recording, text) for text in texts]
    assert [row["digits_right"] for row in rows] == [int(right[0]), 0, None, None]
    # What has no text may be any digit; what says another word is none.
    assert [len(row.get("digit_features", b"")) // 4 for row in rows] == [32, 32, 0, 32]
    assert np.frombuffer(rows[3]["digit_features"], "<f4") == pytest.approx(together.features[0], abs=1e-4)
    assert digit_metrics(rows, 50, 0)["digit_accuracy"] == 50.0 * right[0]
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"model.safetensors: not a readable safetensors file"):
        DigitJudge(folder)


def test_what_is_no_digit_lies_far_from_the_training_recordings(digits: Path, trained: Path, tmp_path: Path) -> None:
    """Real test digits, then the same with their sound put in disorder, then noise."""
    folder = Path(shutil.copytree(trained, tmp_path / "own"))
    judge, real = DigitJudge(folder), read_real(str(folder))
    assert real is not None and real.probabilities.sum() == pytest.approx(1)
    clips = read_clips(digits / "data/digits/audio", "train")
    same = judge([clip.wave for clip in clips])
    assert frechet_distance(fit_gaussian(same.features), real.features) == pytest.approx(0, abs=1e-3)
    rng = np.random.default_rng(0)
    waves = [clip.wave for clip in read_clips(digits / "data/digits/audio", "test")]
    shuffled = [np.concatenate(rng.permutation(wave[: len(wave) // 320 * 320].reshape(-1, 320))) for wave in waves]
    noise = [rng.normal(size=len(wave)).astype(np.float32) for wave in waves]
    near, far, further = (
        frechet_distance(fit_gaussian(judge(some).features), real.features) for some in (waves, shuffled, noise)
    )
    assert 0 < 2 * near < far < further
    (folder / "real.safetensors").unlink()
    with pytest.raises(UserError, match=r"evaluate.digits: .*real.safetensors: not found"):
        digit_judge(str(folder))


def test_an_epoch_loses_nothing_and_a_batch_depends_on_its_step_alone(digits: Path) -> None:
    clips = read_clips(digits / "data/digits/audio", "train")
    assert len(clips) == 80, "the recording that says no digit is left out"
    batches = list(ClipBatches(clips, 16, 7, 10))
    later = list(ClipBatches(clips, 16, 7, 10, start=4))
    assert all(torch.equal(a["audio"], b["audio"]) for a, b in zip(batches[4:], later, strict=True))
    energies = sorted(round(float(wave.square().sum()), 3) for batch in batches[:5] for wave in batch["audio"])
    assert energies == sorted(round(float(np.sum(one_second(clip.wave) ** 2)), 3) for clip in clips)


def test_a_corpus_without_digits_and_an_absent_classifier_are_named(digits: Path) -> None:
    said = {"id": "a", "text": "hello", "split": "train", "num_samples": 1, "num_speech": 1, "audio": b""}
    write_shard(digits / "data/words/audio/part-00000.parquet", [{**dict.fromkeys(AUDIO.names), **said}], AUDIO)
    with pytest.raises(UserError, match=r"data/words/audio: no recording of split 'train' says a digit"):
        read_clips(Path("data/words/audio"), "train")
    with pytest.raises(UserError, match=r"evaluate.digits: nowhere/config.yaml: not found"):
        digit_judge("nowhere")
    assert read_real("") is read_real("models/judges/__init__.py") is None
    assert digit_judge("") is digit_judge(str(PROJECT / "models/judges/__init__.py")) is None
