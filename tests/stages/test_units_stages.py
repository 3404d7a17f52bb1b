"""Features, k-means, units, F0 and statistics on tiny shards, from the workers' functions up to the stages."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from models.encoders import build_encoder
from respeak.encoders.encoder_files import read_config
from respeak.encoders.loading import save_encoder
from speech.audio.waveforms import encode_audio
from speech.errors import UserError
from speech.pitch import VoicedSums, voiced_statistics
from speech.storage.shards import AUDIO, F0, features_schema, read_shard, shard_name, write_shard
from speech.units import assign, normaliser
from stages import f0, f0_stats, features, kmeans, units
from stages.data import extraction
from stages.data.extraction import Extraction
from stages.params.f0 import F0 as F0Settings
from stages.params.kmeans import KMeans

LENGTHS = [3840, 6400, 2560, 6400, 12_800]


def write_audio(corpus: Path, shards: int = 2) -> None:
    """Shards of buzzing tones, a silent one among them; the last utterance of each is of the test split."""
    rng = np.random.default_rng(0)
    for shard in range(shards):
        rows = []
        for index, samples in enumerate(LENGTHS):
            pitch = 100 + 20 * index
            wave = 0.3 * np.sign(np.sin(2 * np.pi * pitch * np.arange(samples) / 16_000))
            wave = (wave + 0.01 * rng.standard_normal(samples)) * (index != 2)
            rows.append(
                {
                    "id": f"{shard}-{index}",
                    "speaker": "ab"[index % 2],
                    "text": None,
                    "language": "en",
                    "split": "test" if index == len(LENGTHS) - 1 else "train",
                    "num_samples": samples,
                    "num_speech": samples,
                    "audio": encode_audio(wave.astype(np.float32), "wav"),
                    "phones": None,
                }
            )
        write_shard(corpus / "audio" / shard_name(shard), rows, AUDIO)


def write_features(corpus: Path, dim: int = 6, shards: int = 3, per_shard: int = 4, spread: float = 0.3) -> np.ndarray:
    """Eight random clusters as features, with audio shards of their splits; returns the training frames."""
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 5, (8, dim))
    train = []
    for shard in range(shards):
        audio, rows = [], []
        for index in range(per_shard):
            frames = centres[rng.integers(0, 8, 40)] + rng.normal(0, spread, (40, dim))
            frames = frames.astype(np.float16)
            split = "train" if index else "test"
            identity = {"id": f"{shard}-{index}", "speaker": "ab"[index % 2]}
            audio.append({**identity, "split": split, "num_samples": 40 * 320, "num_speech": 40 * 320, "audio": b""})
            rows.append({**identity, "num_frames": 40, "features": frames})
            train += [frames] if split == "train" else []
        write_shard(corpus / "audio" / shard_name(shard), audio, AUDIO)
        write_shard(corpus / "features" / shard_name(shard), rows, features_schema(dim), {"encoder": "e" * 64})
    return np.concatenate(train).astype(np.float32)


class Log:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics.append(metrics)


SETTINGS = KMeans(
    source="fit", path="", sha256=None, k=8, normalise="none", batch_frames=100, init_frames=150, passes=4
)


def fitted(corpus: Path, settings: KMeans = SETTINGS, seed: int = 0) -> tuple[np.ndarray, Log]:
    count, speakers = kmeans.survey(corpus)
    frames = kmeans.Frames(corpus, settings.normalise, speakers if settings.normalise == "speaker" else {})
    log = Log()
    return kmeans.fit(frames, count, settings, seed, log), log


def test_batches_hold_every_utterance_once_within_the_limit() -> None:
    lengths = np.random.default_rng(2).integers(1, 100, 200).tolist()
    groups = list(extraction.batches(lengths, 400))
    assert sorted(index for group in groups for index in group) == list(range(200))
    assert all(len(group) * max(lengths[i] for i in group) <= 400 for group in groups)
    assert list(extraction.batches([900, 5], 400)) == [[0], [1]]


@pytest.mark.parametrize("kind", ["mfcc", "logmel"])
def test_features_equal_one_by_one_in_corpus_order(tmp_path: Path, kind: str) -> None:
    write_audio(tmp_path, shards=1)
    encoder = build_encoder({"kind": kind})
    save_encoder(tmp_path / "encoder", {"kind": kind, "options": {}}, encoder)
    audio, output = tmp_path / "audio" / shard_name(0), tmp_path / "features" / shard_name(0)
    config = read_config(tmp_path / "encoder")
    report = features.encode_shard(audio, output, Extraction(tmp_path / "encoder", "cpu", "float32", 13_000), config)
    assert report == {"frames": sum(LENGTHS) // 320}

    import torch

    from speech.audio.waveforms import decode_audio

    for row, source in zip(read_shard(output), read_shard(audio), strict=True):
        alone = encoder(torch.from_numpy(decode_audio(source["audio"]))[None])[0].numpy().astype(np.float16)
        assert (row["id"], row["num_frames"]) == (source["id"], source["num_samples"] // 320)
        np.testing.assert_allclose(row["features"].astype(np.float32), alone.astype(np.float32), rtol=2e-3, atol=2e-3)


def test_kmeans_is_as_good_as_sklearn_on_all_frames(tmp_path: Path) -> None:
    from sklearn.cluster import KMeans as Reference

    frames = write_features(tmp_path)
    centroids, log = fitted(tmp_path)
    inertia = np.square(frames - centroids[assign(frames, centroids)]).sum()
    assert inertia < 1.05 * Reference(8, n_init=5, random_state=0).fit(frames).inertia_
    assert len(log.metrics) == SETTINGS.passes
    assert log.metrics[-1]["kmeans/inertia"] == pytest.approx(inertia / len(frames), rel=0.05)
    assert log.metrics[-1]["kmeans/dead_centres"] == 0


def test_centres_that_no_frame_can_use_are_counted(tmp_path: Path) -> None:
    write_features(tmp_path, spread=0.0)  # eight points, however many centres
    _, log = fitted(tmp_path, dataclasses.replace(SETTINGS, k=11))
    assert [report["kmeans/dead_centres"] for report in log.metrics] == [3] * SETTINGS.passes
    assert log.metrics[-1]["kmeans/rare_centres"] >= 3


def test_kmeans_repeats_bit_equal_and_follows_the_seed(tmp_path: Path) -> None:
    write_features(tmp_path)
    first, second, other = (fitted(tmp_path, seed=seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_kmeans_sees_training_frames_only_and_each_once_a_pass(tmp_path: Path) -> None:
    train = write_features(tmp_path)
    frames = kmeans.Frames(tmp_path, "none", {})
    seen = list(kmeans.mini_batches(frames.utterances(np.array([2, 0, 1])), 100, np.random.default_rng(0)))
    assert all(len(batch) <= 100 for batch in seen)
    assert np.array_equal(np.sort(np.concatenate(seen), axis=0), np.sort(train, axis=0))
    drawn = kmeans.sample(frames, len(train), 57, np.random.default_rng(0))
    assert drawn.shape == (57, train.shape[1])
    assert len(np.unique(drawn, axis=0)) == 57


def test_speaker_normalisation_is_per_speaker(tmp_path: Path) -> None:
    write_features(tmp_path)
    _, speakers = kmeans.survey(tmp_path)
    frames = np.concatenate(list(kmeans.Frames(tmp_path, "speaker", speakers).utterances()))
    assert set(speakers) == {"a", "b"}
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(frames.std(axis=0), 1, atol=1e-3)


def test_too_many_units_are_refused_with_both_numbers(tmp_path: Path) -> None:
    train = write_features(tmp_path)
    with pytest.raises(UserError, match=rf"500 units .* {len(train)} training frames"):
        kmeans.check_size(dataclasses.replace(SETTINGS, k=500), len(train), tmp_path)
    with pytest.raises(UserError, match=r"kmeans\.init_frames: 5 is below kmeans\.k \(8\)"):
        kmeans.check_size(dataclasses.replace(SETTINGS, init_frames=5), len(train), tmp_path)


@pytest.mark.parametrize("mode", ["none", "utterance", "speaker"])
def test_units_are_nearest_centroids(tmp_path: Path, mode: Any) -> None:
    from sklearn.metrics import pairwise_distances_argmin

    write_features(tmp_path)
    centroids, _ = fitted(tmp_path, dataclasses.replace(SETTINGS, normalise=mode))
    speakers = units.speaker_normalisers(tmp_path / "features") if mode == "speaker" else {}
    source, output = tmp_path / "features" / shard_name(1), tmp_path / "units" / shard_name(1)
    report = units.quantise_shard((source, tmp_path / "audio" / shard_name(1), speakers), output, centroids, mode)
    assert sum(report["usage"]) == 160
    for row, frames in zip(read_shard(output), read_shard(source), strict=True):
        transform = normaliser(mode, frames["features"], speakers.get(frames["speaker"]))
        expected = pairwise_distances_argmin(transform(frames["features"]), centroids)
        assert row["units"].dtype == np.uint16
        assert np.array_equal(row["units"], expected)


def test_saved_kmeans_reads_back_and_damage_is_named(tmp_path: Path) -> None:
    centroids = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    config = {"k": 5, "dim": 3, "normalise": "none", "encoder": "e" * 64, "seed": 0}
    kmeans.save(tmp_path, centroids, config)
    loaded, read = units.load_kmeans(tmp_path)
    assert np.array_equal(loaded, centroids) and read == config
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "k": 6}))
    with pytest.raises(UserError, match="does not describe the centroids"):
        units.load_kmeans(tmp_path)
    (tmp_path / "centroids.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="damaged"):
        units.load_kmeans(tmp_path)
    with pytest.raises(UserError, match="not found"):
        units.load_kmeans(tmp_path / "none")


def test_features_of_another_encoder_are_refused(tmp_path: Path) -> None:
    write_features(tmp_path)
    with pytest.raises(UserError, match="made by encoder eeee"):
        units.check_encoder(tmp_path / "features" / shard_name(0), {"encoder": "f" * 64})


def test_a_corrupted_shard_is_named(tmp_path: Path) -> None:
    write_features(tmp_path)
    path = tmp_path / "features" / shard_name(1)
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[: len(whole) // 2], b"", whole[:200] + bytes(200) + whole[400:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"part-00001\.parquet.*damaged"):
            kmeans.survey(tmp_path)


def test_f0_of_tones_and_silence(tmp_path: Path) -> None:
    write_audio(tmp_path, shards=1)
    output = tmp_path / "f0" / shard_name(0)
    report = f0.track_shard(tmp_path / "audio" / shard_name(0), output, F0Settings("dio", 60.0, 400.0))
    rows = list(read_shard(output))
    assert report["frames"] == sum(LENGTHS) // 80 == sum(len(row["f0"]) for row in rows)
    assert report["unvoiced_utterances"] == 1
    assert not rows[2]["f0"].any()
    for index in (1, 3, 4):
        track = rows[index]["f0"]
        assert np.median(track[track > 0]) == pytest.approx(100 + 20 * index, rel=0.01)


def test_statistics_use_the_training_split_and_pool_openly(tmp_path: Path) -> None:
    tracks = {"trained": 200.0, "testonly": 120.0, "whisper": 0.0}
    rng = np.random.default_rng(0)
    audio, pitch = [], []
    for speaker, mean in tracks.items():
        for index in range(3):
            split = "test" if index == 2 or speaker == "testonly" else "train"
            identity = {"id": f"{speaker}{index}"}
            audio.append({**identity, "speaker": speaker, "split": split, "num_samples": 16_000, "num_speech": 16_000})
            height = mean * (2 if split == "test" and speaker == "trained" else 1)
            f0_track = np.where(np.arange(200) % 2, rng.normal(height, 5, 200), 0) if mean else np.zeros(200)
            pitch.append({**identity, "f0": f0_track.astype(np.float32)})
    write_shard(tmp_path / "audio" / shard_name(0), [{**row, "audio": b""} for row in audio], AUDIO)
    write_shard(tmp_path / "f0" / shard_name(0), pitch, F0)
    stats = f0_stats.speaker_statistics(f0_stats.gather(tmp_path), 100, tmp_path)

    def voiced(*names: str) -> np.ndarray:
        joined = np.concatenate([row["f0"] for row in pitch if row["id"] in names]).astype(np.float64)
        return joined[joined > 0]

    expected = {"trained": voiced("trained0", "trained1"), "testonly": voiced("testonly0", "testonly1", "testonly2")}
    for speaker, values in expected.items():
        assert stats[speaker]["hz"] == pytest.approx({"mean": values.mean(), "std": values.std()})
        assert stats[speaker]["voiced_frames"] == len(values) and not stats[speaker]["pooled"]
    pooled = np.concatenate(list(expected.values()))
    assert stats["whisper"]["pooled"] and stats["whisper"]["voiced_frames"] == 0
    assert stats["whisper"]["hz"] == pytest.approx(voiced_statistics(pooled)["hz"])
    assert list(stats) == sorted(stats)


def test_a_corpus_without_voice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no voiced frame"):
        f0_stats.speaker_statistics({"a": VoicedSums()}, 10, tmp_path)


@pytest.mark.parametrize(
    ("kind", "weights", "message"),
    [("hubert", "none", "needs weights: 'file'"), ("mfcc", "random", "has no weights")],
)
def test_encoder_weights_must_fit_the_kind(kind: str, weights: str, message: str) -> None:
    from stages.encoder import check_weights

    with pytest.raises(UserError, match=message):
        check_weights(kind, weights)


def test_speakers_keep_rows_and_ignore_padding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from speech import dvectors
    from stages import speakers

    heard: list[int] = []
    fake = SimpleNamespace(embed=lambda wave: heard.append(len(wave)) or np.full(256, 1 / 16, np.float32))
    monkeypatch.setattr(dvectors, "embed", fake.embed)
    write_audio(tmp_path, shards=1)
    output = tmp_path / "speakers" / shard_name(0)
    assert speakers.embed_shard(tmp_path / "audio" / shard_name(0), output) == {"utterances": len(LENGTHS)}
    rows = list(read_shard(output))
    assert [row["id"] for row in rows] == [f"0-{index}" for index in range(len(LENGTHS))]
    assert all(row["embedding"].shape == (256,) for row in rows)
    assert heard == LENGTHS
