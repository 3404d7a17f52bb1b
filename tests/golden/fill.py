"""Golden cases: where they lie, how they are read, and the rule that fills a state dict from key names alone.

The rule is that of the vectors' README: one generator per key, PCG64 seeded with crc32(key) ^ seed.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "golden"


def golden_dir() -> Path:
    return Path(os.environ.get("GOLDEN_DIR", DEFAULT))


@dataclass(frozen=True)
class Case:
    spec: dict[str, Any]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    constants: dict[str, Tensor]

    def state(self, module: str) -> dict[str, Tensor]:
        """Filled state dict of one of the case's modules, under the original keys, constants left out."""
        spec = self.spec["modules"][module]
        entries = [entry for entry in spec["state"] if entry["kind"] != "constant"]
        return {e["key"]: fill(e["key"], e["shape"], e["dtype"], spec["seed"], e.get("gain", 1.0)) for e in entries}

    def check(self, name: str, got: Tensor, atol: float | None = None, rtol: float | None = None) -> None:
        tolerance = self.spec["tolerance"]
        torch.testing.assert_close(
            got.detach().reshape(self.outputs[name].shape),
            self.outputs[name],
            atol=tolerance["atol"] if atol is None else atol,
            rtol=tolerance["rtol"] if rtol is None else rtol,
            check_dtype=False,
            msg=lambda text: f"{name}: {text}",
        )


def load_case(name: str) -> Case:
    path = golden_dir() / name
    groups: dict[str, dict[str, Tensor]] = {"in": {}, "out": {}, "const": {}}
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        for array in arrays.files:
            group, key = array.split("/", 1)
            groups[group][key] = torch.from_numpy(arrays[array])
    return Case(json.loads(path.with_suffix(".json").read_text()), groups["in"], groups["out"], groups["const"])


def fill(key: str, shape: list[int], dtype: str, seed: int, gain: float) -> Tensor:
    if "float" not in dtype:
        return torch.zeros(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()) ^ seed))
    return torch.from_numpy(np.asarray(_draw(rng, key.rpartition(".")[2], shape) * gain, dtype=np.float32))


def _draw(rng: np.random.Generator, name: str, shape: list[int]) -> np.ndarray:
    rank = len(shape)
    if name in ("weight_g", "original0"):
        return rng.uniform(0.5, 1.0, shape)
    if name in ("running_var", "norm_ema"):
        return rng.uniform(0.5, 1.5, shape)
    normal = rng.standard_normal(shape)
    if name == "running_mean" or "bias" in name:
        return 0.1 * normal
    if rank == 1 and name in ("weight_u", "weight_v"):
        return normal / np.linalg.norm(normal)
    if rank <= 1:
        return 1.0 + 0.1 * normal if name == "weight" else normal
    return normal / math.sqrt(max(1, math.prod(shape[1:])))
