"""The content encoder: from ``params.encoder`` to ``encoder/`` (configuration, weights, hash).

MFCC and log-mel features have no weights. HuBERT (Hsu et al. 2021) takes a file in torchaudio's key names, or random
weights, seeded, for trying out loading and sizes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from speech.errors import UserError
from stages.runtime.stage import Stage, stage_main

OUTPUT = Path("encoder")


def run(stage: Stage) -> None:
    """Build the encoder, load its weights and save both."""
    from models.encoders import build_encoder
    from respeak.encoders import load_weights, read_state, save_encoder

    config: dict[str, Any] = {**dataclasses.asdict(stage.params.encoder), "seed": stage.params.seed}
    encoder = build_encoder(config)
    source = config["weights"]
    _check_weights(config["kind"], source, has_weights=bool(encoder.state_dict()))
    if source not in ("none", "random"):
        load_weights(encoder, read_state(source), source)
        with Path(source).open("rb") as handle:
            config["weights_sha256"] = hashlib.file_digest(handle, "sha256").hexdigest()
    saved = save_encoder(OUTPUT, config, encoder)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    stage.tracker.log_metrics({"encoder/parameters": float(parameters), "encoder/dim": float(saved["dim"])})
    stage.tracker.log_artifact(OUTPUT / "config.yaml")


def _check_weights(kind: str, source: str, *, has_weights: bool) -> None:
    if has_weights and source == "none":
        raise UserError(f"encoder.weights: {kind} needs a file of weights, or 'random'")
    if not has_weights and source != "none":
        raise UserError(f"encoder.weights: {kind} has no weights; set it to none, not {source!r}")


if __name__ == "__main__":
    stage_main("encoder", run)
