from __future__ import annotations

import dataclasses
import json
import pickle
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile

from respeak import System
from respeak.encoders.encoder_files import read_config
from respeak.systems.resynthesis.system import Resynthesis
from speech.audio.waveforms import decode_audio, encode_audio
from speech.errors import UserError
from speech.intonation import FLAT, UNCHANGED
from speech.storage.shards import AUDIO, read_rows, speakers_schema, write_shard
from stages import synthesize
from stages.data.extraction import Extraction
from stages.f0 import track_shard
from stages.features import encode_shard
from stages.params.corpora import Corpus, Roles
from stages.params.experiments import Experiment
from stages.params.f0 import F0
from stages.params.whole import Params, load_params
from stages.runtime import jobs
from stages.runtime.stage import Stage
from stages.synthesize import Utterance, choose_melodies, choose_targets, choose_utterances
from stages.units import quantise_shard
from tests.respeak.tiny import MODEL, SPEAKERS, UNITS, f0_stats, make_bundle

DIGITS = ("two", "seven")
RECORDINGS = "data/free-spoken-digit-dataset/recordings"
STREAMS = ("audio", "features", "units", "f0")
LIMITS = ("max_utterances", "targets_per_utterance")


class Silent:
    """A tracker that only remembers."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics.update(metrics)

    def log_figure(self, name: str, fig: Any) -> None:
        self.metrics[f"figure {name}"] = len(fig.axes)

    def log_audio(self, name: str, wave: np.ndarray) -> None:
        self.metrics[f"audio {name}"] = len(wave)


class InProcess(ThreadPoolExecutor):
    """What worker processes do, without the seconds that each takes to load torch; work still has to pickle."""

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        return super().submit(pickle.loads(pickle.dumps(function)), *pickle.loads(pickle.dumps(arguments)), **named)


@pytest.fixture(scope="module")
def workplace(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with one corpus of real digits in two shards, made by the stages, and a tiny system."""
    root = tmp_path_factory.mktemp("workplace")
    system = System.load(make_bundle(root / "systems/resynthesis", normalise="utterance"), "cpu")
    recordings = shared / RECORDINGS
    for shard, take in enumerate((0, 1)):
        rows = [_digit(system, recordings, speaker, digit, take) for speaker in SPEAKERS for digit in DIGITS]
        paths = {stream: root / f"data/digits/{stream}/part-{shard:05d}.parquet" for stream in STREAMS}
        write_shard(paths["audio"], rows, AUDIO)
        folder = system.bundle.path / "encoder"
        extraction = Extraction(folder, "cpu", "float32", 16000)
        encode_shard(paths["audio"], paths["features"], extraction, read_config(folder))
        quantise_shard((paths["features"], paths["audio"], {}), paths["units"], system.bundle.centroids, "utterance")
        track_shard(paths["audio"], paths["f0"], F0("dio", 60.0, 400.0))
    stats = {name: f0_stats(mean) for name, mean in SPEAKERS.items()}
    (root / "data/digits/f0_stats.json").write_text(json.dumps(stats))
    (root / "data/one").mkdir()
    vector = {"id": "n-1", "speaker": "nobody", "embedding": np.eye(256)[9]}
    write_shard(root / "data/one/speakers/part-00000.parquet", [vector], speakers_schema(256))
    vectors = {name: np.eye(256, dtype=np.float32)[row] for row, name in enumerate(SPEAKERS)}
    model = {**MODEL, "speaker_dim": 256}
    make_bundle(root / "systems/by_vector", normalise="utterance", model=model, vectors=vectors)
    voicing = np.ones(UNITS, np.float32)
    make_bundle(root / "systems/lasting", normalise="utterance", model={**MODEL, "durations": True}, voicing=voicing)
    (root / "data/one/f0_stats.json").write_text(json.dumps({"theo": stats["theo"], "nobody": stats["theo"]}))
    return root


def _digit(system: System, recordings: Path, speaker: str, digit: str, take: int) -> dict[str, Any]:
    number = {"two": 2, "seven": 7}[digit]
    wave, rate = soundfile.read(recordings / f"{number}_{speaker}_{take}.wav", dtype="float32")
    conditioned, num_speech = system.condition(wave, rate)
    return {
        "id": f"{speaker}-{digit}-{take}",
        "speaker": speaker,
        "text": digit,
        "language": "en",
        "split": "train" if (speaker, digit, take) == ("theo", "two", 1) else "test",
        "num_samples": len(conditioned),
        "num_speech": num_speech,
        "audio": encode_audio(conditioned, "flac"),
    }


@pytest.fixture()
def run(workplace: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the stage with an experiment; gives its rows by id and what was logged."""
    base = load_params(project / "params.yaml")
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(jobs, "open_executor", lambda runtime: InProcess(1))

    def call(
        task: str,
        target: str = "digits",
        path: str = "systems/resynthesis",
        system: str = "resynthesis",
        **options: Any,
    ) -> Any:
        system, path = ("recordings", "data/digits/audio") if task == "copy" else (system, path)
        limits = {name: options.pop(name) for name in list(options) if name in LIMITS}
        settings: dict[str, Any] = {"units": "own", "weights": "trained", **options}
        experiment = Experiment(system, path, cast(Any, task), **settings)
        runtime = dataclasses.replace(base.runtime, workers=1, device="cpu")
        params: Params = dataclasses.replace(
            base,
            roles=Roles(encoder="digits", train="digits", target=target, source="digits"),
            runtime=runtime,
            synthesize=dataclasses.replace(base.synthesize, **limits),
            corpora={name: Corpus("folder", "recordings") for name in ("digits", "one", "none")},
            experiments={"tried": experiment},
            tables={},
        )
        tracker = Silent()
        synthesize.run(Stage("synthesize", "tried", params, cast(Any, tracker)))
        return {row["id"]: row for row in read_rows(Path("synthesize/tried"))}, tracker.metrics

    return call


def sources(workplace: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_rows(workplace / "data/digits/audio") if row["split"] == "test"}


def test_copy_is_the_speech_of_the_recordings(run: Any, workplace: Path) -> None:
    rows, metrics = run("copy")
    expected = sources(workplace)
    assert list(rows) == list(expected)
    for name, row in rows.items():
        wave = decode_audio(expected[name]["audio"])[: expected[name]["num_speech"]]
        np.testing.assert_array_equal(decode_audio(row["audio"]), wave)
        assert (row["text"], row["num_samples"]) == (expected[name]["text"], len(wave))
        assert row["source_speaker"] == row["target_speaker"] == expected[name]["speaker"]
    total = sum(row["num_samples"] for row in rows.values())
    assert metrics["audio_seconds"] == pytest.approx(total / 16000)
    assert metrics["figure spectrograms.png"] == 3
    first = {f"audio {name}-{row['target_speaker']}": row["num_samples"] for name, row in list(rows.items())[:3]}
    assert {name: value for name, value in metrics.items() if name.startswith("audio ")} == first


def test_recordings_are_the_floor_of_no_conversion(run: Any, workplace: Path) -> None:
    rows, _ = run("conversion", system="recordings", path="data/digits/audio", voices="unseen")
    expected = sources(workplace)
    assert {row["source_id"] for row in rows.values()} == set(expected)
    for row in rows.values():
        source = expected[row["source_id"]]
        assert row["target_speaker"] != source["speaker"]
        np.testing.assert_array_equal(decode_audio(row["audio"]), decode_audio(source["audio"])[: source["num_speech"]])


def test_interface_hears_what_the_stages_stored(workplace: Path, shared: Path) -> None:
    system = System.load(workplace / "systems/resynthesis", "cpu")
    wave, rate = soundfile.read(shared / f"{RECORDINGS}/7_nicolas_1.wav", dtype="float32")
    encoded = system.encode(wave, rate)
    stored = {stream: {row["id"]: row for row in read_rows(workplace / f"data/digits/{stream}")} for stream in STREAMS}
    np.testing.assert_array_equal(encoded.units, stored["units"]["nicolas-seven-1"]["units"])
    np.testing.assert_array_equal(encoded.f0, stored["f0"]["nicolas-seven-1"]["f0"])


def test_resynthesis_equals_the_interface(run: Any, workplace: Path, shared: Path) -> None:
    """The stored units and F0 lead where the recording itself leads through ``System.resynthesize``."""
    rows, metrics = run("resynthesis")
    assert list(rows) == list(sources(workplace))
    assert metrics["real_time_factor"] > 0
    system = System.load(workplace / "systems/resynthesis", "cpu")
    wave, rate = soundfile.read(shared / f"{RECORDINGS}/7_nicolas_1.wav", dtype="float32")
    expected = system.resynthesize(wave, rate, "nicolas")
    np.testing.assert_allclose(decode_audio(rows["nicolas-seven-1"]["audio"]), expected, atol=1e-4)


def test_baselines_differ_and_repeat(run: Any) -> None:
    own, _ = run("resynthesis", max_utterances=3)
    shuffled, _ = run("resynthesis", units="shuffled", max_utterances=3)
    untrained, _ = run("resynthesis", weights="untrained", max_utterances=3)
    again, _ = run("resynthesis", units="shuffled", max_utterances=3)
    assert list(own) == list(shuffled) == list(untrained)
    assert len({row["source_speaker"] for row in own.values()}) == 3
    for name in own:
        waves = [decode_audio(rows[name]["audio"]) for rows in (own, shuffled, untrained)]
        assert len({len(wave) for wave in waves}) == 1
        assert np.abs(waves[0] - waves[1]).max() > 0.02
        assert np.abs(waves[0] - waves[2]).max() > 0.02
        assert shuffled[name]["audio"] == again[name]["audio"]


def test_conversion_to_the_other_speakers(run: Any, workplace: Path) -> None:
    rows, _ = run("conversion", targets_per_utterance=2)
    assert len(rows) == 2 * len(sources(workplace))
    for name, row in rows.items():
        assert name == f"{row['source_id']}__{row['target_speaker']}"
        assert row["target_speaker"] != row["source_speaker"]
    one, other = (decode_audio(rows[f"theo-two-0__{voice}"]["audio"]) for voice in ("jackson", "nicolas"))
    assert np.abs(one - other).max() > 0.05


def test_conversion_to_another_corpus(run: Any) -> None:
    with pytest.raises(UserError, match="no voice but its own"):
        run("conversion", target="one")
    with pytest.raises(UserError, match="no speaker that systems/resynthesis"):
        run("conversion", target="none")


def test_a_flat_melody_is_the_interfaces(run: Any, workplace: Path, shared: Path) -> None:
    rows, _ = run("resynthesis", span=0.0)
    system = System.load(workplace / "systems/resynthesis", "cpu")
    wave, rate = soundfile.read(shared / f"{RECORDINGS}/7_nicolas_1.wav", dtype="float32")
    expected, own = (system.resynthesize(wave, rate, "nicolas", intonation=i) for i in (FLAT, UNCHANGED))
    np.testing.assert_allclose(decode_audio(rows["nicolas-seven-1"]["audio"]), expected, atol=1e-4)
    assert np.abs(expected - own).max() > 0.02


def test_melodies_are_changed_and_exchanged(run: Any) -> None:
    plain, _ = run("resynthesis")
    for options in ({"semitones": 5.0}, {"span": 2.0}, {"melody": "other"}):
        rows, _ = run("resynthesis", **options)
        assert [row["num_samples"] for row in rows.values()] == [row["num_samples"] for row in plain.values()]
        assert any(row["audio"] != plain[name]["audio"] for name, row in rows.items()), options
    utterances = [Utterance("a", "1", "x", None), Utterance("a", "2", "y", None), Utterance("b", "3", "x", None)]
    assert choose_melodies(utterances[:2]) == {"1": "2", "2": "1"}
    with pytest.raises(UserError, match="shard b has one test utterance only"):
        choose_melodies(utterances)


def test_deduplicated_units_last_as_long_as_the_system_thinks(run: Any, workplace: Path) -> None:
    rows, _ = run("resynthesis", path="systems/lasting", units="deduplicated")
    system = System.load(workplace / "systems/lasting", "cpu")
    units = {row["id"]: row["units"] for row in read_rows(workplace / "data/digits/units")}
    expected = sources(workplace)
    for name, row in rows.items():
        spoken = units[name][: -(-expected[name]["num_speech"] // 320)].astype(np.int64)
        once = spoken[np.flatnonzero(np.diff(spoken, prepend=-1))]
        assert row["num_samples"] == 320 * len(system.vocoding.repeat(once))


def test_conversion_to_a_voice_that_was_not_in_training(run: Any, workplace: Path) -> None:
    rows, _ = run("conversion", target="one", path="systems/by_vector", voices="unseen")
    assert {row["target_speaker"] for row in rows.values()} == {"nobody"}
    seen, _ = run("conversion", target="digits", path="systems/by_vector")
    assert {row["target_speaker"] for row in seen.values()} == set(SPEAKERS)
    with pytest.raises(UserError, match=r"speaker=vector; this one has a table"):
        run("conversion", target="one", voices="unseen")
    with pytest.raises(UserError, match="has unseen"):
        run("conversion", target="digits", path="systems/by_vector", voices="unseen")


def test_a_stranger_says_it_in_his_own_voice(run: Any, monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    """A speaker whom the system does not know is heard by the corpus's d-vectors and F0 statistics."""
    vector = [{"id": "t", "speaker": "theo", "embedding": np.eye(256)[20]}]
    write_shard(workplace / "data/digits/speakers/part-00000.parquet", vector, speakers_schema(256))
    known, _ = run("resynthesis", path="systems/by_vector")
    config = Resynthesis.read_config(Path("systems/by_vector"))
    others = {**config, "speakers": [name for name in config["speakers"] if name != "theo"]}
    monkeypatch.setattr(Resynthesis, "read_config", lambda path: others)
    rows, _ = run("resynthesis", path="systems/by_vector")
    assert rows["nicolas-seven-1"]["audio"] == known["nicolas-seven-1"]["audio"]
    assert rows["theo-two-0"]["audio"] != known["theo-two-0"]["audio"]


def test_a_corpus_without_test_split(run: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesize, "_test_split", lambda corpus: iter(()))
    with pytest.raises(UserError, match="no utterance is in split 'test'"):
        run("copy")


def test_an_untrained_speaker_cannot_be_resynthesised(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = [Utterance("part-00000.parquet", "x", "anna", None)]
    monkeypatch.setattr(synthesize, "_test_split", lambda corpus: iter(strangers))
    with pytest.raises(UserError, match="has no speaker 'anna' of corpus digits, only jackson, nicolas, theo"):
        run("resynthesis")


def some(speakers: str, texts: str) -> list[Utterance]:
    return [Utterance("part-00000.parquet", f"{s}{t}{i}", s, t) for s in speakers for t in texts for i in range(3)]


def test_subset_is_balanced_over_speakers_and_texts() -> None:
    utterances = some("abcd", "0123456789")
    chosen = choose_utterances(utterances, 40, seed=1)
    assert set(Counter(u.speaker for u in chosen).values()) == {10}
    assert set(Counter(u.text for u in chosen).values()) == {4}
    assert [u for u in utterances if u in set(chosen)] == chosen
    assert chosen == choose_utterances(utterances, 40, seed=1)
    assert chosen != choose_utterances(utterances, 40, seed=2)
    assert len(choose_utterances(utterances, 7, seed=1)) == 7
    assert choose_utterances(utterances, 500, seed=1) == utterances


def test_subset_takes_what_a_small_speaker_has() -> None:
    utterances = [*some("a", "01")[:2], *some("b", "0123")]
    assert Counter(u.speaker for u in choose_utterances(utterances, 8, seed=0)) == {"a": 2, "b": 6}


def test_targets_are_balanced_and_never_the_source() -> None:
    utterances = some("abc", "01234")
    chosen = choose_targets(utterances, ["a", "b", "c", "d", "e"], 2, seed=3)
    for utterance in utterances:
        assert utterance.speaker not in chosen[utterance.id]
        assert len(set(chosen[utterance.id])) == 2
    pairs = Counter((u.speaker, voice) for u in utterances for voice in chosen[u.id])
    assert set(pairs.values()) <= {7, 8}
    assert chosen == choose_targets(utterances, ["a", "b", "c", "d", "e"], 2, seed=3)
    assert all(len(voices) == 1 for voices in choose_targets(some("a", "0"), ["a", "b"], 5, seed=0).values())
