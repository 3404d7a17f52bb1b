"""The content encoder: from ``params.encoder`` to ``encoder/`` (configuration, weights, hash).

MFCC and log-mel features have no weights. HuBERT (Hsu et al. 2021) and wav2vec 2.0 (Baevski et al. 2020) take a file or
a Hugging Face folder, a public checkpoint by name or address, or random weights, seeded, for trying out loading and
sizes. Whatever it was, ``encoder/`` holds its own copy: what follows depends on that, not on where it came from. DVC
watches ``encoder.path`` itself, so a changed file makes the stage run again.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech.errors import UserError
from stages.params.encoder import Encoder
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main

OUTPUT = Path("encoder")


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    encoder: Encoder


def run(stage: Stage[Params]) -> None:
    """Build the encoder, load its weights and save both."""
    from respeak.encoders.loading import save_encoder

    config: dict[str, Any] = {**dataclasses.asdict(stage.params.encoder), "seed": stage.params.seed}
    path, digest = config.pop("path"), config.pop("sha256")
    check_weights(config["kind"], config["weights"])
    if config["weights"] in ("none", "random"):
        from models.encoders import build_encoder

        encoder = build_encoder(config)
    else:
        encoder = load(config, path, digest)
    saved = save_encoder(OUTPUT, config, encoder)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    stage.tracker.log_metrics({"encoder/parameters": float(parameters), "encoder/dim": float(saved["dim"])})
    stage.tracker.log_artifact(OUTPUT / "config.yaml")


def load(config: dict[str, Any], path: str, digest: str | None) -> Any:
    """Load the encoder with the weights that ``config`` names; add their options and sha256 to ``config``."""
    from models.encoders import build_encoder
    from respeak.encoders.encoder_weights import read_encoder_weights
    from respeak.encoders.loading import load_weights
    from respeak.weights import PUBLIC, locate

    kind, source = config["kind"], config["weights"]
    public = PUBLIC.get(source)
    if public is not None and public.kind != kind:
        raise UserError(f"encoder.weights: {source} is a {public.kind}, encoder.kind is {kind}")
    file = locate(source, path, digest, "encoder")
    state, options, config["weights_sha256"] = read_encoder_weights(file, kind)
    config["options"] = {**(public.options if public else {}), **options, **config["options"]}
    encoder = build_encoder(config)
    load_weights(encoder, state, file)
    return encoder


def check_weights(kind: str, source: str) -> None:
    """Refuse an encoder without the weights it needs, and weights for one that has none."""
    from models.encoders.build import TRANSFORMERS

    if kind in TRANSFORMERS and source == "none":
        raise UserError(f"encoder.weights: {kind} needs weights: 'file' (and encoder.path), a public name, or 'random'")
    if kind not in TRANSFORMERS and source != "none":
        raise UserError(f"encoder.weights: {kind} has no weights; set it to none, not {source!r}")


if __name__ == "__main__":
    stage_main("encoder", run, Params)
