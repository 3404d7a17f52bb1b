"""What a bundle learns of its speakers from several corpora."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from speech.storage.files import write_json
from speech.storage.shards import read_rows, shard_name, speakers_schema, write_shard
from stages.data.speaker_facts import read_speakers, unit_voicing
from tests.stages.tiny_corpus import make_corpus as make_tiny


def make_corpus(root: Path, names: list[str], mean: float, with_frames: bool = True) -> Path:
    rows = [
        {"id": f"{name}{i}", "speaker": name, "embedding": np.eye(4)[(j + i) % 4]}
        for j, name in enumerate(names)
        for i in range(2)
    ]
    write_shard(root / "speakers" / shard_name(0), rows, speakers_schema(4))
    write_json(root / "f0_stats.json", {name: {"hz": {"mean": mean, "std": 1.0}} for name in names})
    (root / "units").mkdir()
    if with_frames:
        save_file({name: np.full((2, 3), mean, np.float32) for name in names}, root / "units/frame_stats.safetensors")
    return root


def test_the_first_corpus_wins_and_only_asked_speakers_are_kept(tmp_path: Path) -> None:
    first = make_corpus(tmp_path / "a", ["ann", "bob"], 100.0)
    second = make_corpus(tmp_path / "b", ["bob", "cat", "dan"], 200.0)
    voices = read_speakers([first, second], ["ann", "bob", "cat"])
    assert {name: stats["hz"]["mean"] for name, stats in voices.f0.items()} == {"ann": 100, "bob": 100, "cat": 200}
    assert {name: frames[0, 0] for name, frames in voices.frames.items()} == {"ann": 100, "bob": 100, "cat": 200}
    assert list(voices.vectors) == ["ann", "bob", "cat"]


def test_vectors_are_means_of_unit_length(tmp_path: Path) -> None:
    voices = read_speakers([make_corpus(tmp_path / "a", ["ann"], 1.0, with_frames=False)], ["ann"])
    np.testing.assert_allclose(voices.vectors["ann"], np.array([1, 1, 0, 0]) / np.sqrt(2), rtol=1e-6)
    assert voices.frames == {}


def test_units_are_voiced_as_often_as_in_training(tmp_path: Path) -> None:
    tiny = tmp_path / "tiny"
    make_tiny(tiny, 8)
    shares = unit_voicing([tiny], 12)
    frames, voiced = np.zeros(12), np.zeros(12)
    rows = [read_rows(tiny / stream) for stream in ("audio", "units", "f0")]
    for audio, units, f0 in zip(*rows, strict=True):
        if audio["split"] == "train":
            for unit, track in zip(units["units"], f0["f0"].reshape(-1, 4), strict=True):
                frames[unit] += 4
                voiced[unit] += (track > 0).sum()
    np.testing.assert_allclose(shares, voiced / np.maximum(frames, 1), rtol=1e-6)
    assert 0 < shares[0] < 1 and not shares[10:].any()
