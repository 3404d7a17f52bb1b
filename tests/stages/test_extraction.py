"""Extraction through small transformers: padded batches, several layers, precision, and units without features."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from models.encoders import build_encoder
from respeak.encoders.encoder_files import read_config
from respeak.encoders.loading import save_encoder
from speech.audio.waveforms import decode_audio
from speech.errors import UserError
from speech.storage.shards import read_shard, shard_meta, shard_name
from stages import encoder as encoder_stage
from stages import features, kmeans, units
from stages.data import extraction
from stages.data.extraction import Extraction, is_kept
from stages.params.schema import read_params
from stages.params.whole import Params
from tests.stages.test_units_stages import LENGTHS, SETTINGS, write_audio

SIZES = {"layers": 3, "dim": 32, "heads": 4, "feed_forward": 64, "conv_channels": 16}
SIZES |= {"position_kernel": 16, "position_groups": 4}
LARGE = {"front_end": "layer_norm", "conv_bias": True, "norm_first": True, "normalise_wave": True}
ENCODERS = {"hubert": SIZES, "wav2vec2": {**SIZES, **LARGE}}


def make_encoder(folder: Path, kind: str, layer: int = 2) -> dict[str, Any]:
    config = {"kind": kind, "layer": layer, "weights": "random", "options": ENCODERS[kind]}
    return save_encoder(folder, config, build_encoder(config))


def extracted(root: Path, kind: str, **changes: Any) -> list[dict[str, Any]]:
    """Rows of a feature shard of the test's audio, three batches of padded recordings."""
    config = make_encoder(root / "encoder", kind)
    keep = changes.pop("keep", 1.0)
    how = dataclasses.replace(Extraction(root / "encoder", "cpu", "float32", 20_000), **changes)
    output = root / "features" / shard_name(0)
    features.encode_shard(root / "audio" / shard_name(0), output, how, config, keep)
    return list(read_shard(output))


@pytest.mark.parametrize("kind", ENCODERS)
def test_shards_hold_what_each_recording_has_alone_at_every_layer(tmp_path: Path, kind: str) -> None:
    write_audio(tmp_path, shards=1)
    rows = extracted(tmp_path, kind, extra_layers=(1, 3))
    model = build_encoder({"kind": kind, "layer": 2, "options": ENCODERS[kind]})
    assert len(list(extraction.batches(LENGTHS, 20_000))) < len(LENGTHS)
    for row, source in zip(rows, read_shard(tmp_path / "audio" / shard_name(0)), strict=True):
        wave = torch.from_numpy(decode_audio(source["audio"]))
        if model.normalise_wave:
            wave = torch.nn.functional.layer_norm(wave, wave.shape)
        alone, _ = model.model.extract_features(torch.nn.functional.pad(wave, (40, 40))[None])
        assert (row["id"], row["num_frames"]) == (source["id"], source["num_samples"] // 320)
        for layer, column in ((1, "features_1"), (2, "features"), (3, "features_3")):
            expected = alone[layer - 1][0].half().numpy()
            # One step of float16 where 1e-4 in float32 crosses a rounding border.
            np.testing.assert_allclose(
                row[column].astype(np.float32), expected.astype(np.float32), atol=1e-4, rtol=2e-3
            )
    stated = shard_meta(tmp_path / "features" / shard_name(0))
    assert (stated["layer"], stated["precision"], stated["hop"]) == ("2", "float32", "320")


@pytest.mark.parametrize("kind", ENCODERS)
def test_bfloat16_is_near_and_is_not_float32(tmp_path: Path, kind: str) -> None:
    write_audio(tmp_path, shards=1)
    exact, low = (
        np.concatenate([row["features"].astype(np.float32) for row in extracted(tmp_path, kind, precision=precision)])
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(exact, low)
    assert np.sqrt(np.mean((exact - low) ** 2)) < 0.03 * exact.std()


def test_layers_that_the_encoder_lacks_are_refused(tmp_path: Path) -> None:
    config = make_encoder(tmp_path, "hubert")
    assert features.check_layers([3, 2, 3], config) == [3]
    with pytest.raises(UserError, match=r"features\.extra_layers: hubert has 3 layers, not 4"):
        features.check_layers([1, 4], config)


@pytest.mark.parametrize("mode", ["none", "utterance"])
def test_units_straight_from_audio_equal_those_through_features(tmp_path: Path, mode: Any) -> None:
    write_audio(tmp_path, shards=1)
    rows = extracted(tmp_path, "hubert")
    frames = np.concatenate([row["features"] for row in rows]).astype(np.float32)
    centroids = frames[np.random.default_rng(0).permutation(len(frames))[:10]]
    if mode == "utterance":
        centroids = (centroids - frames.mean(0)) / frames.std(0)
    audio, stored = (tmp_path / name / shard_name(0) for name in ("audio", "features"))
    through, straight = tmp_path / "through.parquet", tmp_path / "straight.parquet"
    reports = [units.quantise_shard((stored, audio, {}), through, centroids, mode)]
    how = Extraction(tmp_path / "encoder", "cpu", "float32", 20_000)
    reports.append(units.encode_shard(audio, straight, how, centroids, mode))
    assert reports[0] == reports[1] and sum(np.array(reports[0]["usage"]) > 0) > 2
    for one, other in zip(read_shard(through), read_shard(straight), strict=True):
        assert one["id"] == other["id"] and np.array_equal(one["units"], other["units"])


def test_kept_frames_are_a_share_and_other_rows_stay_without_them(tmp_path: Path) -> None:
    write_audio(tmp_path, shards=1)
    rows = extracted(tmp_path, "hubert", keep=0.5)
    assert [row["num_frames"] for row in rows] == [length // 320 for length in LENGTHS]
    kept = [is_kept(row["id"], 0.5) for row in rows]
    assert 0 < sum(kept) < len(rows)
    assert [len(row["features"]) for row in rows] == [n // 320 * k for n, k in zip(LENGTHS, kept, strict=True)]
    names = [f"speaker-{number}" for number in range(4000)]
    assert sum(is_kept(name, 0.1) for name in names) == pytest.approx(400, abs=60)
    assert {name for name in names if is_kept(name, 0.1)} < {name for name in names if is_kept(name, 0.2)}
    assert all(is_kept(name, 1.0) for name in names) and not any(is_kept(name, 0.0) for name in names)
    assert kmeans.survey(tmp_path)[0] == sum(
        len(row["features"]) for row in rows[:-1]
    )  # the last utterance is of the test split


def test_parameters_that_cannot_work_together_are_refused(project: Path) -> None:
    import yaml

    raw = yaml.safe_load((project / "params.yaml").read_text())
    raw["features"]["keep"] = 0.2
    with pytest.raises(UserError, match=r"features\.keep 0\.2 .* set kmeans\.normalise to none or utterance"):
        read_params(Params, raw)
    raw["features"]["keep"], raw["kmeans"]["normalise"] = 0, "none"
    with pytest.raises(UserError, match=r"features\.keep 0 leaves kmeans nothing to fit"):
        read_params(Params, raw)


def test_workers_take_turns_on_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    current = SimpleNamespace(name="")
    monkeypatch.setattr(multiprocessing, "current_process", lambda: current)
    found = []
    for current.name in ("ForkServerProcess-1", "ForkServerProcess-2", "ForkServerProcess-3", "MainProcess"):
        found.append(extraction.pick_device("auto"))
    assert found == ["cuda:0", "cuda:1", "cuda:0", "cuda:0"]
    assert extraction.pick_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert extraction.pick_device("auto") == "cpu"
    with pytest.raises(UserError, match=r"runtime\.device: cuda, but torch finds no GPU"):
        extraction.pick_device("cuda")


def test_encoder_stage_takes_a_file_and_notes_its_digest(tmp_path: Path) -> None:
    from speech.fetching.downloads import file_sha256

    donor = build_encoder({"kind": "hubert", "layer": 2, "options": SIZES, "seed": 5})
    torch.save(donor.model.state_dict(), tmp_path / "donor.pt")
    config = {"kind": "hubert", "layer": 2, "weights": "file", "options": SIZES, "seed": 0}
    loaded = encoder_stage.load(config, str(tmp_path / "donor.pt"), None)
    wave = torch.randn(1, 3200)
    assert torch.equal(loaded(wave), donor(wave))
    assert config["weights_sha256"] == file_sha256(tmp_path / "donor.pt")
    with pytest.raises(UserError, match=r"encoder\.weights: WAV2VEC2_BASE is a wav2vec2, encoder\.kind is hubert"):
        encoder_stage.load({**config, "weights": "WAV2VEC2_BASE"}, "", None)


def test_brought_centres_must_fit(tmp_path: Path) -> None:
    centres = np.random.default_rng(0).standard_normal((8, 32)).astype(np.float32)
    config = make_encoder(tmp_path / "encoder", "hubert")
    assert read_config(tmp_path / "encoder") == config
    np.save(tmp_path / "km.npy", centres)
    settings = dataclasses.replace(SETTINGS, source="file", path=str(tmp_path / "km.npy"))
    found, origin = kmeans.bring(settings, config)
    assert np.array_equal(found, centres) and len(origin["sha256"]) == 64
    ours = {"k": 8, "dim": 32, "normalise": "none", "encoder": config["hash"]}
    kmeans.save(tmp_path / "kmeans", centres, ours)
    own = dataclasses.replace(settings, path=str(tmp_path / "kmeans" / "centroids.safetensors"))
    assert np.array_equal(kmeans.bring(own, config)[0], centres)
    for change, expected, message in (
        ({"k": 9}, config, r"kmeans\.k: 9, but .* holds 8 centres"),
        ({}, {**config, "dim": 39}, "centres of 32 dimensions; the encoder has 39"),
        ({}, {**config, "hash": "f" * 64}, "fitted with encoder"),
        ({"normalise": "speaker"}, config, "fitted with normalise none; here it is speaker"),
    ):
        with pytest.raises(UserError, match=message):
            kmeans.bring(dataclasses.replace(own, **change), expected)
