"""A bundle as small as it gets: real files, real MFCC encoder, random weights that make an audible noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.encoders import build_encoder
from models.judges.resnext import DigitClassifier
from models.resynthesis import UnitGenerator
from respeak.encoders.loading import save_encoder
from respeak.judges.digit_judge import DigitJudge, save_classifier, save_real
from respeak.systems.resynthesis.bundle import save_resynthesis

# The command line, run in this process: arguments to exit status, stdout, stderr.
Respeak = Callable[..., tuple[int, str, str]]

UNITS = 12
SPEAKERS = {"jackson": 100.0, "nicolas": 150.0, "theo": 125.0}
MODEL: dict[str, Any] = {
    "num_units": UNITS,
    "num_speakers": len(SPEAKERS),
    "embedding_dim": 8,
    "initial_channels": 32,
    "resblock_kernels": [3, 7],
    "resblock_dilations": [[1, 3], [1, 3]],
    "f0_quantizer": {"codes": 5, "embedding_dim": 8, "width": 4, "depth": 2},
}

WITH_SOURCE = {**MODEL, "source": "harmonic"}


def f0_stats(mean: float) -> dict[str, Any]:
    return {
        "hz": {"mean": mean, "std": 20.0},
        "log": {"mean": float(np.log(mean)), "std": 0.2},
        "voiced_frames": 1000,
    }


def random_generator(model: dict[str, Any]) -> UnitGenerator:
    """Weights as large as trained ones, so that every input is heard in the output."""
    torch.manual_seed(0)
    generator = UnitGenerator(**model)
    for name, value in generator.state_dict().items():
        if name.endswith("original0"):
            value.fill_(1.2)
        elif name.startswith("quantizer.codebook.codes"):
            value.normal_(std=0.3)
        elif name == "speaker_f0":
            value.copy_(torch.tensor([[mean, 20.0] for mean in list(SPEAKERS.values())[: len(value)]]))
    return generator


def make_bundle(directory: Path, normalise: str = "speaker", model: dict[str, Any] = MODEL, **extras: Any) -> Path:
    """Write a bundle and return its folder; ``extras`` go to ``save_resynthesis``."""
    config = {"kind": "mfcc", "layer": 0, "options": {}}
    encoder_dir = directory.parent / f"{directory.name}.encoder"
    encoder = build_encoder(config)
    save_encoder(encoder_dir, config, encoder)
    centroids = np.random.default_rng(0).normal(size=(UNITS, encoder.dim)).astype(np.float32)
    bundle = {
        "scale": "tiny",
        "sample_rate": 16000,
        "unit_hop": 320,
        "f0_hop": 80,
        "kmeans": {"k": UNITS, "normalise": normalise},
        "f0": {"method": "dio", "floor_hz": 60.0, "ceil_hz": 400.0, "normalise": "hz"},
        "audio": {"trim_db": 40.0, "normalise_peak": 0.95, "pad_multiple": 1280},
        "model": model,
        "licence": "none",
        "provenance": {"made_by": "a test"},
    }
    state = random_generator(model).state_dict()
    stats = {name: f0_stats(mean) for name, mean in SPEAKERS.items()}
    save_resynthesis(directory, bundle, state, centroids, encoder_dir, stats, **extras)
    return directory


def random_classifier(folder: Path, real: Sequence[np.ndarray]) -> Path:
    """A digit classifier of random weights, and what it makes of ``real`` recordings."""
    sizes = {"depth": 11, "groups": 2, "base_width": 4, "widen": 1, "channels": 8}
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    save_classifier(folder, sizes, DigitClassifier(**sizes))
    save_real(folder, DigitJudge(folder)(real))
    return folder
