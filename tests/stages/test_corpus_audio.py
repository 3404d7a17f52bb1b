"""The corpus and audio stages on a folder that holds every kind of good and bad file."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from speech.audio.waveforms import decode_audio
from speech.errors import UserError
from speech.storage.shards import read_rows, read_shard, shard_meta, shard_paths
from stages import audio, corpus
from stages.params.corpora import Corpus, Roles
from stages.params.whole import Params, load_params
from stages.runtime.stage import Stage
from stages.tracking.tracker import Tracker

PROMPTS = Path(__file__).resolve().parents[2] / "speech" / "corpora" / "prompts"


@pytest.fixture()
def workplace(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text((project / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stage(name: str, made: Corpus, *, allowed: float = 0.05, minutes: float = 1.0, **settings: object) -> Stage:
    params: Params = load_params()
    runtime = dataclasses.replace(params.runtime, workers=1, max_reject_fraction=allowed, shard_minutes=minutes)
    sound = dataclasses.replace(params.audio, trim_db=None, min_seconds=0.05, **settings)  # type: ignore[arg-type]
    roles = Roles("mine", "mine", "mine", "mine")
    params = dataclasses.replace(params, corpora={"mine": made}, roles=roles, runtime=runtime, audio=sound)
    return Stage(name, "mine", params, Tracker(Path("journal.jsonl"), {}))


def run_both(made: Corpus, **settings: object) -> None:
    corpus.run(stage("corpus", made, **settings))  # type: ignore[arg-type]
    audio.run(stage("audio", made, **settings))  # type: ignore[arg-type]


def tone(seconds: float = 0.4, rate: int = 16000, channels: int = 1) -> np.ndarray:
    one = 0.3 * np.sin(2 * np.pi * 200 * np.arange(int(seconds * rate)) / rate)
    return np.stack([one] * channels, 1).astype(np.float32)


def test_good_files_become_shards_and_bad_ones_rows_of_rejects(workplace: Path) -> None:
    ann = workplace / "voices/ann"
    ann.mkdir(parents=True)
    (workplace / "voices/lone").mkdir()
    for name, samples, rate in (
        ("mono", tone(), 16000),
        ("stereo", tone(channels=2), 22050),
        ("eight", tone(channels=8), 16000),
        ("studio", tone(rate=96000), 96000),
        ("../lone/only", tone(), 8000),
        ("silent", np.zeros(8000), 16000),
        ("one", np.ones(1), 16000),
    ):
        soundfile.write(ann / f"{name}.wav", samples, rate)
    soundfile.write(ann / "nan.wav", np.append(tone(), np.nan), 16000, subtype="FLOAT")
    (ann / "empty.wav").touch()
    (ann / "cut.wav").write_bytes((ann / "mono.wav").read_bytes()[:3000])
    soundfile.write(ann / "whole.flac", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    (ann / "cut.flac").write_bytes((ann / "whole.flac").read_bytes()[:9000])

    # 0.008 minutes: about one utterance a shard, so that a shard whose only utterance is rejected comes up too.
    run_both(Corpus("folder", "voices"), allowed=0.6, minutes=0.008)
    rows = list(read_rows("data/mine/audio"))
    assert [row["id"] for row in rows] == [
        "ann--eight", "ann--mono", "ann--stereo", "ann--studio", "ann--whole", "lone--only",
    ]  # fmt: skip
    for row in rows:
        wave = decode_audio(row["audio"])
        assert len(wave) == row["num_samples"]
        assert row["num_samples"] % 1280 == 0
        assert 0 < row["num_speech"] <= row["num_samples"]
        assert np.abs(wave).max() == pytest.approx(0.95, abs=1e-4)
    assert rows[-1]["split"] == "train"

    rejected = {
        row["path"]: row["reason"]
        for folder in ("corpus", "audio")
        for row in read_shard(f"data/mine/{folder}/rejects.parquet")
    }
    reasons = {"silent": "silent", "one": "silent", "nan": "non-finite", "empty": "0 bytes", "cut": "cut short"}
    for name, reason in reasons.items():
        assert reason in rejected.pop(f"ann/{name}.wav")
    assert list(rejected) == ["ann/cut.flac"]

    manifest = list(read_shard("data/mine/corpus/manifest.parquet"))
    groups = audio.group_by_duration(manifest, 0.008 * 60)
    shards = [[row["id"] for row in read_shard(path)] for path in shard_paths("data/mine/audio")]
    assert len(shards) == len(groups)
    assert all(set(kept) <= {row["id"] for row in group} for kept, group in zip(shards, groups, strict=True))
    assert [] in shards


def test_too_many_bad_files_stop_the_stage_with_the_first_reason(workplace: Path) -> None:
    (workplace / "voices/ann").mkdir(parents=True)
    soundfile.write("voices/ann/good.wav", tone(), 16000)
    soundfile.write("voices/ann/quiet.wav", np.zeros(8000), 16000)
    made = Corpus("folder", "voices")
    with pytest.raises(UserError, match=r"1 of 2 .*ann/quiet\.wav: is silent"):
        run_both(made)
    assert not Path("data/mine/audio").exists()
    Path("voices/ann/good.wav").write_bytes(b"RIFF")
    Path("voices/ann/quiet.wav").write_bytes(b"")
    with pytest.raises(UserError, match="no usable recording among 2"):
        run_both(made)


@pytest.mark.parametrize("codec", ["flac", "wav"])
def test_demo_corpus_through_both_stages(workplace: Path, codec: str) -> None:
    made = Corpus("demo", str(PROMPTS), {"voices": "target", "sentences": 3, "digits": 0})
    run_both(made, codec=codec)
    manifest = Path("data/mine/corpus/manifest.parquet")
    assert shard_meta(manifest)["root"] == "data/mine/corpus"
    listed = list(read_shard(manifest))
    assert all((Path("data/mine/corpus") / row["path"]).is_file() for row in listed)
    rows = list(read_rows("data/mine/audio"))
    assert [row["id"] for row in rows] == sorted(row["id"] for row in listed)
    for row in rows:
        assert row["audio"][:4] == (b"RIFF" if codec == "wav" else b"fLaC")
        assert row["phones"][-1]["end"] <= row["num_speech"] / 16000 + 1e-6
        assert {"phone", "start", "end"} == row["phones"][0].keys()


def test_the_stages_repeat_to_the_byte(workplace: Path) -> None:
    made = Corpus("demo", str(PROMPTS), {"voices": "target", "sentences": 3, "digits": 0})
    files = ("corpus/manifest.parquet", "audio/part-00000.parquet", "audio/rejects.parquet")
    run_both(made)
    first = [(Path("data/mine") / name).read_bytes() for name in files]
    run_both(made)
    assert first == [(Path("data/mine") / name).read_bytes() for name in files]


def test_missing_corpus_and_variant_are_named(workplace: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: corpus folder not found; set corpora\.mine\.root"):
        corpus.run(stage("corpus", Corpus("folder", "nowhere")))
    with pytest.raises(UserError, match="--variant yours"):
        corpus.run(dataclasses.replace(stage("corpus", Corpus("folder", "nowhere")), variant="yours"))
    with pytest.raises(UserError, match="not found; run the stage"):
        audio.run(stage("audio", Corpus("folder", "nowhere")))


def test_phones_move_with_the_trim_and_stay_inside() -> None:
    phones = [{"phone": p, "start": s, "end": e} for p, s, e in (("a", 0.0, 0.4), ("b", 0.4, 1.0), ("c", 1.0, 2.0))]
    assert audio.shift_phones(phones, 0.5, 1.0) == [
        {"phone": "b", "start": 0.0, "end": 0.5},
        {"phone": "c", "start": 0.5, "end": 1.0},
    ]
    assert audio.shift_phones(None, 0.5, 1.0) is None


def test_recordings_inside_parquet_become_shards_without_being_unpacked(workplace: Path) -> None:
    clips = []
    for number in range(12):
        buffer = io.BytesIO()
        left = tone() * (1 + number) / 12
        soundfile.write(buffer, np.concatenate([left, np.zeros_like(left)], axis=1), 16000, format="FLAC")
        clips.append({"bytes": buffer.getvalue(), "path": f"{number}.flac"})
    clips[5]["bytes"] = b"noise"
    table = pa.table({"audio": clips, "speaker_id": ["ann"] * 12, "text": ["a tone"] * 12})
    (workplace / "hub").mkdir()
    pq.write_table(table, workplace / "hub/train-00000-of-00001.parquet", row_group_size=5)
    run_both(Corpus("hf_parquet", "hub", {"channel": 0}), allowed=0.2, minutes=0.03)
    rows = list(read_rows("data/mine/audio"))
    assert [row["id"][-2:] for row in rows] == ["00", "01", "02", "03", "04", "06", "07", "08", "09", "10", "11"]
    assert {(row["speaker"], row["text"]) for row in rows} == {("ann", "a tone")}
    for row in rows:
        wave = decode_audio(row["audio"])[: row["num_speech"]]
        np.testing.assert_allclose(wave, tone()[:, 0] * 0.95 / 0.3, atol=5e-3)  # channel 0 alone
    assert not list(workplace.rglob("*.flac"))


def test_a_missing_corpus_names_the_command_and_fetches_nothing(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(corpus, "download", lambda *arguments: asked.append(arguments))
    made = Corpus("speech_commands", "words", {"version": "0.02", "words": "sc09"})
    command = "respeak corpus download speech_commands words --option version=0.02"
    with pytest.raises(UserError, match=rf"words: .* corpora\.mine\.root .* fetch it: {command}$"):
        corpus.run(stage("corpus", made))
    assert asked == []
    with pytest.raises(UserError, match="corpus folder not found"):
        corpus.run(stage("corpus", dataclasses.replace(made, download=True)))
    assert asked == [("speech_commands", Path("words"), made.options)]
