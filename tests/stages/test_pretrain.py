"""Pretraining as a program on a tiny corpus: bare of what it does not need, killed and resumed, used as an encoder."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from respeak.encoders.encoder_files import read_config
from respeak.encoders.loading import load_encoder
from speech.errors import UserError
from stages import encoder, pretrain
from stages.params.pretrain import PretrainIteration
from stages.params.whole import load_params
from stages.runtime.stage import Stage
from stages.tracking.tracker import Tracker
from stages.training import loop
from tests.stages.test_train_stages import BLOCKED, run
from tests.stages.test_train_stages import bare_packages as bare_packages
from tests.stages.tiny_corpus import make_corpus

PROJECT = Path(__file__).resolve().parents[2]
SIZES = {
    "layers": 2,
    "heads": 2,
    "dim": 16,
    "feed_forward": 32,
    "conv_channels": 20,
    "position_kernel": 8,
    "position_groups": 2,
    "front_end": "log_mel",
}
FIRST = {"teacher": "mfcc", "path": "spectral.py", "layer": 0, "k": 12, "steps": 6, "warm_start": False}
SECOND = {"teacher": "hubert", "path": "pretrain/first", "layer": 1, "k": 8, "steps": 2, "warm_start": True}


@pytest.fixture()
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_corpus(tmp_path / "data" / "tiny", 12)
    for unneeded in ("units", "f0", "speakers"):
        (tmp_path / "data" / "tiny" / unneeded).rename(tmp_path / unneeded)
    (tmp_path / "data" / "tiny" / "f0_stats.json").unlink()
    (tmp_path / "spectral.py").touch()
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_params(root: Path, **changes: Any) -> None:
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["roles"] = dict.fromkeys(params["roles"], "tiny")
    params["corpora"] = {"tiny": {"adapter": "folder", "root": "recordings"}}
    params["runtime"] |= {"threads": 1, "workers": 1, "device": "cpu"}
    spec = params["pretrain"]
    spec |= {"iterations": {"first": FIRST, "second": SECOND}, "model": SIZES, "label_dim": 8, "unmasked_weight": 1.0}
    spec["clusters"] |= {"normalise": "speaker", "init_frames": 100, "passes": 2}
    spec["loop"] |= {"batch_size": 2, "segment_samples": 6400, "log_every": 2, "validate_every": 4}
    spec["loop"] |= {"checkpoint_every": 2, "workers": 0, "precision": "32-true"}
    for name, change in changes.items():
        spec[name] = {**spec[name], **change}
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def stage_of(name: str, variant: str | None) -> Stage:
    return Stage(name, variant, load_params(), Tracker(Path("journal.jsonl"), {}))


def test_it_runs_bare_with_curves(workplace: Path, bare_packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = workplace / "packages"
    packages.mkdir()
    entries = {path.name: path for path in bare_packages.iterdir()}
    import torchaudio

    site = Path(torchaudio.__file__).parents[1]
    entries |= {path.name: path for path in site.glob("torchaudio*")}
    for name, path in entries.items():
        (packages / name).symlink_to(path)
    assert "torchaudio" in BLOCKED
    done = run("pretrain", workplace, packages, "--variant", "first")
    assert done.returncode == 0, done.stderr
    with Path("pretrain/first/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert Path("pretrain/first.csv").read_text() == Path("pretrain/first/history.csv").read_text()
    for name in ("train/accuracy_masked", "train/accuracy_unmasked", "train/loss_masked"):
        assert all(float(row[name]) >= 0 for row in rows)
    assert float(rows[1]["valid/loss_unmasked"]) > 0
    assert not (workplace / ".scratch" / "pretrain@first").exists()


def test_iterations_follow_and_become_the_encoder(workplace: Path) -> None:
    pretrain.run(stage_of("pretrain", "first"))
    pretrain.run(stage_of("pretrain", "second"))
    first, second = (load_encoder(Path("pretrain") / name) for name in ("first", "second"))
    weights = [
        model.state_dict()["model.encoder.transformer.layers.0.attention.q_proj.weight"] for model in (first, second)
    ]
    moved = float((weights[1] - weights[0]).norm() / weights[0].norm())
    assert 0 < moved < 0.2, "two steps away from the teacher"
    stage = stage_of("encoder", None)
    chosen = dataclasses.replace(stage.params.encoder, kind="hubert", weights="file", path="pretrain/second", layer=1)
    encoder.run(dataclasses.replace(stage, params=dataclasses.replace(stage.params, encoder=chosen)))
    config = read_config("encoder")
    assert (config["layer"], config["num_layers"], config["dim"]) == (1, 2, 16)
    wave = 0.1 * torch.randn(1, 6400, generator=torch.Generator().manual_seed(0))
    (expected,) = second.extract(wave, None, [1])
    assert torch.equal(load_encoder("encoder")(wave), expected)


def test_a_killed_run_ends_as_an_undisturbed_one(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrain.run(stage_of("pretrain", "first"))
    whole = Path("pretrain/first/model.safetensors").read_bytes()
    history = Path("pretrain/first/history.csv").read_text()

    keep, seen = loop._Keeper._save, []

    def die(self: Any, trainer: Any, module: Any) -> None:
        keep(self, trainer, module)
        seen.append(module.step)
        if module.step == 4:
            raise KeyboardInterrupt

    labelled = []
    make_part = pretrain.make_part
    monkeypatch.setattr(pretrain, "make_part", lambda job, *rest: (labelled.append(rest), make_part(job, *rest)))
    monkeypatch.setattr(loop._Keeper, "_save", die)
    with pytest.raises(BaseException):  # noqa: B017 (Lightning turns an interrupt into an exit)
        pretrain.run(stage_of("pretrain", "first"))
    assert seen[-1] == 4
    assert len(labelled) == 1
    monkeypatch.setattr(loop._Keeper, "_save", keep)
    pretrain.run(stage_of("pretrain", "first"))
    assert len(labelled) == 1, "labels were kept"
    assert Path("pretrain/first/model.safetensors").read_bytes() == whole
    assert [line.split(",")[0] for line in Path("pretrain/first/history.csv").read_text().splitlines()] == [
        line.split(",")[0] for line in history.splitlines()
    ]


def test_clusters_of_a_share_need_no_stored_frames(workplace: Path) -> None:
    write_params(workplace, clusters={"normalise": "none", "keep": 0.6})
    pretrain.run(stage_of("pretrain", "first"))
    assert Path("pretrain/first/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": {"first": FIRST | {"warm_start": True}}}, "first: warm_start takes a teacher's weights"),
        ({"iterations": {"first": FIRST | {"k": 1}}}, "first: k must be between 2 and 65535"),
        ({"clusters": {"keep": 0.5}}, "clusters: keep below 1 leaves out frames"),
        ({"iterations": {"second": SECOND}}, "pretrain/first/config.yaml: not found"),
        ({"iterations": {"first": FIRST | {"k": 5000}}}, "k-means|5000 units cannot be fitted"),
    ],
)
def test_what_cannot_be_is_one_line(workplace: Path, changes: dict[str, Any], message: str) -> None:
    write_params(workplace, **changes)
    with pytest.raises(UserError, match=message) as error:
        name = "second" if "not found" in message else "first"
        pretrain.run(stage_of("pretrain", name))
    assert "\n" not in str(error.value)


def test_an_iteration_by_signal_features_has_no_weights_to_start_from() -> None:
    with pytest.raises(ValueError, match="mfcc has none"):
        PretrainIteration("mfcc", "x", 0, 10, 1, True)
