"""Soft-VC as small as it gets: real files of random weights, of soft or of discrete units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from models.encoders import build_encoder
from models.hifigan import Discriminators
from models.softvc import AcousticModel, Vocoder
from respeak.encoders.loading import save_encoder
from respeak.folders import CONFIG, save_state
from respeak.systems.softvc.bundle import save_softvc

UNITS = 12
SOFT_DIM = 6
HUBERT: dict[str, Any] = {
    "layers": 1,
    "heads": 2,
    "dim": 8,
    "feed_forward": 16,
    "conv_channels": 20,
    "position_kernel": 8,
    "position_groups": 2,
    "front_end": "log_mel",
}
VOCODER: dict[str, Any] = {"initial_channels": 32, "resblock_kernels": [3, 7], "resblock_dilations": [[1, 3], [1]]}
ENCODERS: dict[str, dict[str, Any]] = {
    "soft_units": {"kind": "soft_hubert", "options": {"k": UNITS, "label_dim": SOFT_DIM, "hubert": HUBERT}},
    "units": {"kind": "mfcc", "layer": 0, "options": {}},
}


def save_part(directory: Path, config: dict[str, Any], **states: dict[str, Any]) -> None:
    """Write a trained part as its stage delivers it: its configuration, and state dicts as ``<name>.safetensors``."""
    directory.mkdir(parents=True)
    for name, state in states.items():
        save_state(directory / f"{name}.safetensors", state)
    (directory / CONFIG).write_text(yaml.safe_dump(config))


def make_softvc(directory: Path, content: str = "soft_units", speakers: tuple[str, ...] = ("anna",)) -> Path:
    """Write a bundle and return its folder; its parts stay beside it."""
    parts = directory.parent / f"{directory.name}.parts"
    encoder = build_encoder(ENCODERS[content])
    saved = save_encoder(parts / "encoder", ENCODERS[content], encoder)
    centroids = np.random.default_rng(0).normal(size=(UNITS, encoder.dim)).astype(np.float32)
    torch.manual_seed(0)
    sizes = {
        "unit_dim": SOFT_DIM,
        "num_units": UNITS if content == "units" else 0,
        "num_speakers": len(speakers) if len(speakers) > 1 else 0,
        "width": 8,
        "channels": 12,
        "hidden": 16,
    }
    acoustic = AcousticModel(**sizes)
    acoustic.decoder.proj.weight.data *= 4  # so that units are heard in the mel
    config = {"model": sizes, "content": content, "corpus": "tiny", "speakers": list(speakers), "steps": 1}
    save_part(parts / "acoustic", {**config, "encoder": saved["hash"]}, model=acoustic.state_dict())
    widths = {"width": 0.0625, "periods": [2], "scales": 0}
    states = {"generator": Vocoder(**VOCODER).state_dict(), "discriminators": Discriminators(**widths).state_dict()}
    save_part(parts / "vocoder", {"generator": VOCODER, "discriminator": widths, "steps": 1}, **states)
    whole = {
        "scale": "tiny",
        "sample_rate": 16000,
        "unit_hop": 320,
        "kmeans": {"k": UNITS, "normalise": "utterance"},
        "audio": {"trim_db": 40.0, "normalise_peak": 0.95, "pad_multiple": 1280},
        "licence": "none",
        "provenance": {"made_by": "a test"},
    }
    folders = [parts / name for name in ("encoder", "acoustic", "vocoder")]
    save_softvc(directory, whole, *folders, centroids if content == "units" else None)
    return directory
