"""A corpus of synthetic voices on disk, as the stages before training leave one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from speech.audio.waveforms import encode_audio
from speech.storage.shards import AUDIO, F0, UNITS, shard_name, speakers_schema, write_shard

STATS = {"low": (120.0, 8.0), "high": (220.0, 15.0)}


def make_corpus(directory: Path, utterances: int = 20, units: int = 10, per_shard: int = 8) -> None:
    """Shards ``directory/{audio,units,f0,speakers}`` and ``f0_stats.json``; every fourth pair is valid."""
    rng = np.random.default_rng(0)
    names = sorted(STATS)
    made = [_utterance(i, names[i % 2], rng, units) for i in range(utterances)]
    for shard, start in enumerate(range(0, utterances, per_shard)):
        chosen = made[start : start + per_shard]
        for stream, (name, schema) in enumerate((("audio", AUDIO), ("units", UNITS), ("f0", F0))):
            write_shard(directory / name / shard_name(shard), [row[stream] for row in chosen], schema, {})
        vectors = [
            {"id": row["id"], "speaker": row["speaker"], "embedding": np.eye(256)[names.index(row["speaker"])]}
            for row, *_ in chosen
        ]
        write_shard(directory / "speakers" / shard_name(shard), vectors, speakers_schema(256), {})
    stats = {
        name: {"hz": {"mean": mean, "std": std}, "log": {"mean": float(np.log(mean)), "std": 0.1}, "voiced_frames": 999}
        for name, (mean, std) in STATS.items()
    }
    (directory / "f0_stats.json").write_text(json.dumps(stats))


def _utterance(number: int, speaker: str, rng: np.random.Generator, units: int) -> tuple[dict, dict, dict]:
    samples = 1280 * int(rng.integers(2, 12))
    hz = STATS[speaker][0] * (1 + 0.1 * np.sin(np.arange(samples) / 16000 * 6))
    phase = np.cumsum(2 * np.pi * hz / 16000)
    wave = 0.25 * (np.sin(phase) + np.sin(2 * phase) / 2 + np.sin(3 * phase) / 3)
    f0 = hz[::80].astype(np.float32)
    f0[:8] = 0
    wave[:640] = 0
    row = {
        "id": f"u{number:03d}",
        "speaker": speaker,
        "text": "one",
        "language": "en",
        "split": "valid" if number // 2 % 4 == 3 else "train",
        "num_samples": samples,
        "num_speech": samples,
        "audio": encode_audio(wave.astype(np.float32), "wav"),
        "phones": None,
    }
    ids = (np.arange(samples // 320) // 3 % units).astype(np.uint16)
    return row, {"id": row["id"], "units": ids}, {"id": row["id"], "f0": f0}
