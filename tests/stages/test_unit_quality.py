"""The gate on a corpus of three sounds: units that know them, and what is written when there are no timings."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from speech.audio.waveforms import encode_audio
from speech.storage.shards import AUDIO, read_shard, shard_name, write_shard
from stages import encoder, features, kmeans, unit_quality, units
from stages.params.whole import load_params
from stages.runtime.stage import Stage
from stages.tracking.tracker import Tracker

PROJECT = Path(__file__).resolve().parents[2]
SOUNDS = {"low": 300.0, "middle": 1200.0, "high": 4000.0}


def write_corpus(folder: Path, timings: bool) -> None:
    """Two shards of three sounds in changing order, 0.2 s each, by two speakers who differ in their noise."""
    rng = np.random.default_rng(0)
    for shard in range(2):
        rows = []
        for number in range(8):
            order = [str(name) for name in rng.permutation(list(SOUNDS))] if number < 6 else list(SOUNDS)
            seconds = np.arange(3200) / 16_000
            wave = np.concatenate([0.3 * np.sin(2 * np.pi * SOUNDS[name] * seconds) for name in order])
            wave += (0.003, 0.01)[number % 2] * rng.standard_normal(len(wave))
            phones = [{"phone": name, "start": 0.2 * i, "end": 0.2 * i + 0.2} for i, name in enumerate(order)]
            rows.append(
                {
                    "id": f"{shard}-{number}",
                    "speaker": "ab"[number % 2],
                    "text": " ".join(order),
                    "language": "en",
                    "split": "train" if number < 6 else ("valid", "test")[shard],
                    "num_samples": 10_240,
                    "num_speech": 9600,
                    "audio": encode_audio(np.pad(wave, (0, 640)).astype(np.float32), "wav"),
                    "phones": phones if timings else None,
                }
            )
        write_shard(folder / "audio" / shard_name(shard), rows, AUDIO)


def make_units(root: Path, monkeypatch: pytest.MonkeyPatch, timings: bool = True) -> None:
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["roles"] = dict.fromkeys(params["roles"], "tiny")
    params["corpora"] = {"tiny": {"adapter": "folder", "root": "recordings"}}
    params["runtime"] |= {"threads": 1, "workers": 1, "device": "cpu"}
    params["encoder"] |= {"kind": "logmel", "weights": "none", "layer": 0}
    params["kmeans"] |= {"k": 6, "normalise": "none", "init_frames": 200, "passes": 3}
    params["unit_quality"] = {"k": [3, 6], "normalise": ["none", "speaker"], "baselines": ["mfcc"], "pairs": 10}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(root)
    write_corpus(Path("data/tiny"), timings)
    for module, variant in ((encoder, None), (features, "tiny"), (kmeans, None), (units, "tiny"), (unit_quality, None)):
        name = module.__name__.rpartition(".")[2]
        module.run(Stage(name, variant, load_params(), Tracker(Path("journal.jsonl"), {})))


def table() -> dict[str, dict[str, Any]]:
    with Path("unit_quality/table.csv").open() as file:
        return {row["row"]: row for row in csv.DictReader(file)}


def test_every_codebook_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_units(tmp_path, monkeypatch)
    rows = table()
    fitted = [f"{kind}/{mode}/K={k}" for kind in ("logmel", "mfcc") for mode in ("none", "speaker") for k in (3, 6)]
    assert list(rows) == ["in_use", *fitted]
    # The stage kmeans fits the same codebook from the same seed.
    for measure in ("pnmi", "cluster_purity", "unit_distance", "speaker_accuracy"):
        assert rows["in_use"][measure] == rows["logmel/none/K=6"][measure]
    assert float(rows["in_use"]["phone_purity"]) > 0.9
    metrics = json.loads(Path("unit_quality/metrics.json").read_text())
    assert metrics["pnmi"] == pytest.approx(float(rows["in_use"]["pnmi"]))
    for measure in ("pnmi", "speaker_accuracy"):
        difference = float(rows["in_use"][measure]) - float(rows["mfcc/none/K=6"][measure])
        assert metrics[f"{measure}_over_mfcc"] == pytest.approx(difference)
    with Path("unit_quality/measured.csv").open() as file:
        drawn = [row["row"] for row in csv.DictReader(file)]
    # Bars of one name would be drawn upon each other.
    assert len(set(drawn)) == len(drawn) == len(rows) and drawn[0] == "in use: logmel, none, K=6"
    assert Path("unit_quality/phones.png").read_bytes().startswith(b"\x89PNG")
    assert "4 held-out utterances of tiny, 3 phones over 120 frames" in Path("unit_quality/table.md").read_text()


def test_pnmi_in_use_is_sklearns_of_the_units_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.stats import entropy
    from sklearn.metrics import mutual_info_score

    make_units(tmp_path, monkeypatch)
    phones, found = [], []
    for shard in range(2):
        audio, made = (read_shard(Path("data/tiny") / part / shard_name(shard)) for part in ("audio", "units"))
        for row, codes in zip(audio, made, strict=True):
            if row["split"] != "train":
                phones += row["text"].split()[0:1] * 10 + row["text"].split()[1:2] * 10 + row["text"].split()[2:3] * 10
                found += codes["units"][:30].tolist()
    share = np.unique(phones, return_counts=True)[1]
    assert float(table()["in_use"]["pnmi"]) == pytest.approx(mutual_info_score(phones, found) / entropy(share))


def test_without_timings_the_rest_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_units(tmp_path, monkeypatch, timings=False)
    row = table()["in_use"]
    assert row["pnmi"] == ""
    assert 0 <= float(row["unit_distance"]) <= 1
    assert "pnmi" not in json.loads(Path("unit_quality/metrics.json").read_text())
