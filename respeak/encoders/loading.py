"""Content encoders to and from their folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from respeak.encoders.encoder_files import CONFIG, WEIGHTS, read_config, read_state
from speech.errors import UserError
from speech.storage.files import atomic_path, write_text

if TYPE_CHECKING:
    import torch

    from models.encoders import ContentEncoder


def save_encoder(directory: Path | str, config: Mapping[str, Any], encoder: ContentEncoder) -> dict[str, Any]:
    """Write an encoder and return its full configuration.

    Args:
        directory: made if missing.
        config: ``kind``, ``layer``, ``options`` and whatever tells where the weights come from.
        encoder: what ``build_encoder(config)`` gave, its weights loaded.

    Returns:
        ``config`` with ``num_layers``, ``dim``, ``frame_rate`` (Hz), ``hop``, ``receptive_field`` and ``padding``
        (samples), and ``hash``, the identity of the features: sha256 over kind, layer, options and weights.
    """
    from safetensors.torch import save_file

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    weights = directory / WEIGHTS
    if state:
        with atomic_path(weights) as temporary:
            save_file(state, temporary)
    full = {
        **config,
        "layer": encoder.layer,
        "num_layers": encoder.num_layers,
        "dim": encoder.dim,
        "frame_rate": encoder.frame_rate,
        "hop": encoder.hop,
        "receptive_field": encoder.receptive_field,
        "padding": encoder.padding,
    }
    full["hash"] = _identity(full, weights if state else None)
    write_text(directory / CONFIG, yaml.safe_dump(full, sort_keys=True))
    return full


def load_encoder(directory: Path | str) -> ContentEncoder:
    """Read an encoder, ready for use on the CPU.

    Raises:
        UserError: a file is missing, damaged, or not the one that the configuration's hash was made from.
    """
    from models.encoders import build_encoder

    directory = Path(directory)
    config = read_config(directory)
    encoder = build_encoder(config)
    weights = directory / WEIGHTS
    has_weights = bool(encoder.state_dict())
    if has_weights and not weights.is_file():
        raise UserError(f"{weights}: not found, though an encoder of kind {config['kind']} needs weights")
    if _identity(config, weights if has_weights else None) != config["hash"]:
        raise UserError(f"{directory}: configuration and weights do not match their hash; make the encoder again")
    if has_weights:
        load_weights(encoder, read_state(weights), weights)
    return encoder


def load_weights(encoder: ContentEncoder, state: Mapping[str, torch.Tensor], source: Path | str) -> None:
    """Load ``state`` into ``encoder``; keys as ``models.encoders.keys`` knows them.

    Raises:
        UserError: names the first key that is missing or of another shape.
    """
    from models.encoders.keys import torchaudio_state

    own = encoder.state_dict()
    if state.keys() != own.keys():
        state = {f"model.{name}": value for name, value in torchaudio_state(state).items()}
    for name, value in own.items():
        if name not in state:
            raise UserError(f"{source}: weight '{name}' is missing; do encoder.options fit these weights?")
        if state[name].shape != value.shape:
            found, expected = tuple(state[name].shape), tuple(value.shape)
            raise UserError(f"{source}: '{name}' is {found}, expected {expected}; do encoder.options fit?")
    # Training heads (aux, mask embedding, label embeddings) are no part of the encoder.
    encoder.load_state_dict({name: state[name] for name in own})


def _identity(config: Mapping[str, Any], weights: Path | None) -> str:
    digest = hashlib.sha256()
    chosen = {key: config.get(key) for key in ("kind", "layer", "options")}
    digest.update(json.dumps(chosen, sort_keys=True).encode())
    if weights is not None:
        with weights.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()
