"""torch.hub, from another folder and beside packages of the caller's that have the names of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from models.resynthesis import F0VQVAE, UnitGenerator

CALLER = """
import sys
import models, models.hifigan, speech
import numpy as np, torch
project, bundle, weights = sys.argv[1:]
hub = dict(source="local", trust_repo=True)
system = torch.hub.load(project, "resynthesis", bundle, device="cpu", **hub)
rng = np.random.default_rng(0)
wave = system.convert(0.1 * rng.standard_normal(16000).astype(np.float32), 16000, target="theo")
assert 0 < len(wave) <= 16000 and system.speakers == ["jackson", "nicolas", "theo"]
again = torch.hub.load(project, "system", bundle, device="cpu", **hub)
assert np.array_equal(again.convert(np.sin(np.arange(16000, dtype=np.float32)), 16000, "theo"),
                      system.convert(np.sin(np.arange(16000, dtype=np.float32)), 16000, "theo"))
try:
    again.require({next(iter(type(again).takes)).STREAMING: "streaming"})
except Exception as error:
    assert "takes no streaming (no system does)" in str(error), error
quantiser = torch.hub.load(project, "f0_vqvae", weights, **hub)
assert quantiser.encode(torch.zeros(1, 1, 32)).shape == (1, 2) and not quantiser.training
assert models.MINE == "models" and models.hifigan.MINE == "hifigan" and speech.MINE == "speech"
import models.hifigan as again
assert again.MINE == "hifigan" and sys.modules["models"].MINE == "models"
assert project not in sys.path and "respeak" not in sys.modules
"""
BARE = """
import sys, torch
system = torch.hub.load(sys.argv[1], "resynthesis", sys.argv[2], device="cpu", source="local", trust_repo=True)
assert "models" not in sys.modules
"""


def run(program: str, folder: Path, *arguments: object) -> None:
    environment = {**os.environ, "PYTHONPATH": "", "TORCH_HOME": str(folder / "home")}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_system_beside_the_callers_own_packages(tmp_path: Path, bundle_dir: Path, project: Path) -> None:
    for name in ("models", "models/hifigan", "speech"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"MINE = '{Path(name).name}'\n")
    run(CALLER, tmp_path, project, bundle_dir, public_quantiser(tmp_path))


def test_a_system_where_nothing_of_ours_is_installed(tmp_path: Path, bundle_dir: Path, project: Path) -> None:
    run(BARE, tmp_path, project, bundle_dir)


def public_quantiser(folder: Path) -> Path:
    """A training checkpoint of the F0 quantiser, under the published names."""
    model = F0VQVAE()
    state = {}
    for name, value in model.state_dict().items():
        if name == "codebook.codes":
            state["vq.level_blocks.0.k"] = value
        elif not name.startswith("codebook."):
            state[published(name)] = value
    torch.save({"generator": state, "steps": 1}, folder / "g_00000001")
    return folder / "g_00000001"


def published(name: str) -> str:
    side, level, *rest = name.split(".")
    if side == "decoder" and level == "5":
        return f"decoder.out.{rest[0]}"
    conv, residual = ("0", "1") if side == "encoder" else ("1", "0")
    place = {"conv": conv, "residual": residual}.get(rest[0])
    inner = ".".join(rest[1:]) if place == conv else ""
    if place == residual:
        block = {"dilated": "1", "pointwise": "3"}[rest[2]]
        inner = f"model.{rest[1]}.model.{block}.{rest[3]}"
    tail = f"{level}.{place}.{inner}" if place else f"{level}.{rest[0]}"
    return f"{side}.level_blocks.0.model.{tail}"


def test_entries_are_ours(tmp_path: Path) -> None:
    import hubconf

    assert isinstance(hubconf.f0_vqvae(str(public_quantiser(tmp_path))), F0VQVAE)
    assert hubconf._module("models.resynthesis").UnitGenerator is UnitGenerator
