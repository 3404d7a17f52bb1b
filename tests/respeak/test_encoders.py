"""Encoders on disk: what is saved is what is loaded, and damage is told in one line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.encoders import build_encoder
from respeak.encoders.encoder_files import read_config, read_state
from respeak.encoders.loading import load_encoder, load_weights, save_encoder
from speech.errors import UserError

HUBERT: dict[str, Any] = {
    "kind": "hubert",
    "layer": 1,
    "weights": "random",
    "options": {
        "layers": 1,
        "dim": 16,
        "heads": 2,
        "feed_forward": 32,
        "conv_channels": 8,
        "position_kernel": 8,
        "position_groups": 2,
    },
}


def saved(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    return save_encoder(folder, config, build_encoder(config))


@pytest.mark.parametrize(
    "config", [{"kind": "mfcc", "options": {}}, {"kind": "logmel", "options": {"bands": 40}}, HUBERT]
)
def test_round_trip(tmp_path: Path, config: dict[str, Any]) -> None:
    full = saved(tmp_path, config)
    assert read_config(tmp_path) == full
    loaded = load_encoder(tmp_path)
    assert (loaded.kind, loaded.dim, loaded.hop) == (full["kind"], full["dim"], 320)
    wave = torch.randn(1, 3200)
    assert torch.equal(loaded(wave), build_encoder(config)(wave))
    assert (tmp_path / "model.safetensors").exists() == (config["kind"] == "hubert")


def test_hash_tells_features_apart(tmp_path: Path) -> None:
    configs = [
        HUBERT,
        {**HUBERT, "seed": 1},
        {"kind": "mfcc", "options": {}},
        {"kind": "mfcc", "options": {"bands": 30}},
    ]
    hashes = [saved(tmp_path / str(i), config)["hash"] for i, config in enumerate(configs)]
    assert len(set(hashes)) == len(configs)
    assert saved(tmp_path / "again", HUBERT)["hash"] == hashes[0]


def test_tampered_weights_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, HUBERT)
    state = read_state(tmp_path / "model.safetensors")
    state["model.encoder.feature_projection.projection.bias"] += 1
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="do not match their hash"):
        load_encoder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: not found"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("prefix", ["", "wav2vec2."])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_torchaudio_weights_load(tmp_path: Path, prefix: str, suffix: str) -> None:
    donor = build_encoder({**HUBERT, "seed": 9})
    state = {prefix + name: value for name, value in donor.model.state_dict().items()}
    state["mask_generator.mask_embedding"] = torch.zeros(16)
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    encoder = build_encoder(HUBERT)
    load_weights(encoder, read_state(path), path)
    wave = torch.randn(1, 3200)
    assert torch.equal(encoder(wave), donor(wave))


def test_unfit_weights_name_the_key(tmp_path: Path) -> None:
    donor = build_encoder({**HUBERT, "options": {**HUBERT["options"], "feed_forward": 48}})
    with pytest.raises(UserError, match=r"w\.pt: .*intermediate_dense.*\(48, 16\), expected \(32, 16\)"):
        load_weights(build_encoder(HUBERT), donor.state_dict(), "w.pt")
    with pytest.raises(UserError, match="is missing"):
        load_weights(build_encoder(HUBERT), {}, "w.pt")


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


def test_hostile_and_damaged_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hostile.pt").write_bytes(pickle.dumps({"weight": Hostile()}))
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    for name in ("hostile.pt", "damaged.safetensors", "list.pt", "missing.pt"):
        with pytest.raises(UserError, match=name):
            read_state(tmp_path / name)
    assert "executed" not in capsys.readouterr().out
    (tmp_path / "config.yaml").write_text("kind: mfcc\n")
    with pytest.raises(UserError, match="not the configuration of an encoder"):
        read_config(tmp_path)
