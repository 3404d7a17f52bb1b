"""Centres from files: every format that can be read without running its code."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from respeak.encoders.centres import STATED, read_centres
from speech.errors import UserError

CENTRES = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def test_every_format_gives_the_same_centres(tmp_path: Path) -> None:
    save_file(
        {"centroids": CENTRES, "other": CENTRES[:1]},
        tmp_path / "ours.safetensors",
        metadata={STATED: '{"encoder": "e"}'},
    )
    save_file({"anything": CENTRES}, tmp_path / "one.safetensors")
    np.save(tmp_path / "array.npy", CENTRES.astype(np.float64))
    soft_vc = {"n_features_in_": 3, "_n_threads": 4, "cluster_centers_": torch.from_numpy(CENTRES)}
    torch.save(soft_vc, tmp_path / "soft.pt")
    for path in tmp_path.iterdir():
        centres, stated = read_centres(path)
        assert centres.dtype == np.float32 and np.array_equal(centres, CENTRES), path
        assert stated == ({"encoder": "e"} if path.name == "ours.safetensors" else {})


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


def test_what_is_no_centres_or_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("km.bin", "model.joblib", "hostile.pt"):
        (tmp_path / name).write_bytes(pickle.dumps(Hostile()))
    np.save(tmp_path / "objects.npy", np.array([Hostile()], dtype=object), allow_pickle=True)
    np.save(tmp_path / "flat.npy", CENTRES[0])
    np.save(tmp_path / "nan.npy", np.full((2, 2), np.nan))
    np.save(tmp_path / "labels.npy", np.ones((2, 2), np.int64))
    (tmp_path / "short.safetensors").write_bytes(b"x")
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    for path in tmp_path.iterdir():
        with pytest.raises(UserError, match=path.name):
            read_centres(path)
    with pytest.raises(UserError, match=r"joblib or pickle file runs code.*numpy\.save"):
        read_centres(tmp_path / "km.bin")
    assert "executed" not in capsys.readouterr().out
