from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file, save_file

from respeak import System
from respeak.systems.resynthesis.bundle import ResynthesisBundle
from speech.errors import UserError
from tests.respeak.tiny import MODEL, SPEAKERS, make_bundle, random_generator


@pytest.fixture()
def copied(bundle_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_dir, tmp_path / "copied"))


def edit_config(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = yaml.safe_load((bundle / "config.yaml").read_text())
    change(config)
    (bundle / "config.yaml").write_text(yaml.safe_dump(config))


def test_what_is_saved_is_loaded(bundle_dir: Path) -> None:
    bundle = ResynthesisBundle.load(bundle_dir)
    assert list(bundle.speakers) == list(SPEAKERS)
    assert bundle.speakers["theo"]["hz"]["mean"] == SPEAKERS["theo"]
    saved, expected = bundle.generator().state_dict(), random_generator(MODEL).state_dict()
    assert saved.keys() == expected.keys()
    assert all(torch.equal(saved[name], expected[name]) for name in expected)
    assert bundle.num_weights == sum(value.numel() for value in expected.values())


def test_optional_arrays_come_back(tmp_path: Path) -> None:
    vectors = {"theo": np.full(256, 0.0625, np.float32)}
    frames = {"theo": np.stack([np.zeros(39), np.ones(39)]).astype(np.float32)}
    bundle = ResynthesisBundle.load(make_bundle(tmp_path / "b", vectors=vectors, frame_stats=frames))
    np.testing.assert_array_equal(bundle.vectors["theo"], vectors["theo"])
    np.testing.assert_array_equal(bundle.frame_stats["theo"], frames["theo"])


def test_untrained_keeps_only_the_f0_quantiser(bundle_dir: Path) -> None:
    bundle = ResynthesisBundle.load(bundle_dir)
    trained, one, again, other = (bundle.generator(seed).state_dict() for seed in (None, 1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    for name in ("unit_embedding.weight", "vocoder.conv_pre.parametrizations.weight.original1"):
        assert not torch.equal(one[name], trained[name])
        assert not torch.equal(one[name], other[name])
    quantiser = [name for name in one if name.startswith("quantizer.")]
    assert quantiser
    assert all(torch.equal(one[name], trained[name]) for name in quantiser)


@pytest.mark.parametrize(
    "name", ["config.yaml", "model.safetensors", "centroids.safetensors", "speakers.json", "encoder/config.yaml"]
)
def test_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(UserError, match=name):
        ResynthesisBundle.load(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.update(format=2), "format 2, this version reads 1"),
        (lambda config: config.update(system="soft_vc"), "a system 'soft_vc', expected 'resynthesis'"),
        (lambda config: config["kmeans"].pop("k"), "key 'kmeans.k' is missing"),
        (lambda config: config["f0"].update(floor_hz="low"), "f0.floor_hz: expected int, found 'low'"),
        (
            lambda config: config["model"].update(initial_channels=64),
            r"'vocoder.conv_pre.bias' is \[32\], expected \[64\]",
        ),
        (
            lambda config: config["model"].update(f0_quantizer=None),
            r"conv_pre.parametrizations.weight.original1' is \[32, 24, 7\], expected \[32, 16, 7\]",
        ),
        (lambda config: config["model"].update(width=3), "unexpected keyword argument 'width'"),
        (
            lambda config: config["model"].update(num_units=99),
            r"'unit_embedding.weight' is \[12, 8\], expected \[99, 8\]",
        ),
        (lambda config: config["encoder"].update(hash="0" * 64), "the system was trained with 000000000000"),
        (lambda config: config["kmeans"].update(k=13), r"centroids are \[12, 39\], expected \[13, 39\]"),
        (lambda config: config.update(speakers=["jackson"]), "speakers jackson, nicolas, theo are not those"),
    ],
)
def test_what_does_not_fit_is_one_line(copied: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    edit_config(copied, change)
    with pytest.raises(UserError, match=message) as caught:
        ResynthesisBundle.load(copied)
    assert "\n" not in str(caught.value)


def test_encoder_of_other_options_is_refused(copied: Path) -> None:
    config = yaml.safe_load((copied / "encoder/config.yaml").read_text())
    (copied / "encoder/config.yaml").write_text(yaml.safe_dump({**config, "options": {"bands": 30}}))
    system = System.load(copied, "cpu")
    with pytest.raises(UserError, match="do not match their hash"):
        system.encode(np.sin(np.arange(16000, dtype=np.float32)), 16000)


@pytest.mark.parametrize("name", ["model.safetensors", "centroids.safetensors"])
def test_truncated_weights_are_named(copied: Path, name: str) -> None:
    whole = (copied / name).read_bytes()
    (copied / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"{name}: not a readable safetensors file"):
        ResynthesisBundle.load(copied)


def test_missing_tensor_is_named(copied: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    del tensors["vocoder.conv_post.bias"]
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(UserError, match=r"tensor 'vocoder\.conv_post\.bias' is absent"):
        ResynthesisBundle.load(copied)


def test_damaged_speakers_are_named(copied: Path) -> None:
    (copied / "speakers.json").write_text("{")
    with pytest.raises(UserError, match=r"speakers\.json: not valid JSON"):
        ResynthesisBundle.load(copied)


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such system bundle"):
        ResynthesisBundle.load(tmp_path / "none")


def test_failed_save_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bundle(tmp_path / "b", normalise="none")

    def refuse(directory: Path) -> None:
        raise UserError("no")

    monkeypatch.setattr(ResynthesisBundle, "load", staticmethod(refuse))
    with pytest.raises(UserError):
        make_bundle(path, normalise="utterance")
    monkeypatch.undo()
    assert ResynthesisBundle.load(path).config["kmeans"]["normalise"] == "none"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "b.encoder"]


def test_saving_again_replaces_and_repeats(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b")
    first = {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()}
    make_bundle(path)
    assert {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()} == first
    assert json.loads(first["speakers.json"]).keys() == SPEAKERS.keys()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "b.encoder"]


def test_importing_respeak_is_light(project: Path) -> None:
    code = (
        "import sys, respeak, respeak.cli.app, respeak.bundle; print('torch' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
