"""Content encoders on disk: ``config.yaml`` and, where the encoder has weights, ``model.safetensors``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from speech.errors import UserError
from speech.files import atomic_path, write_text

if TYPE_CHECKING:
    import torch

    from models.encoders import ContentEncoder

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"


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


def read_config(directory: Path | str) -> dict[str, Any]:
    """An encoder's configuration.

    Raises:
        UserError: the folder holds no readable ``config.yaml`` of an encoder.
    """
    path = Path(directory) / CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the stage 'encoder' first") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict) or not {"kind", "layer", "dim", "hop", "hash"} <= config.keys():
        raise UserError(f"{path}: not the configuration of an encoder (kind, layer, dim, hop and hash are needed)")
    return config


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


def read_state(path: Path | str) -> dict[str, torch.Tensor]:
    """Read a state dict from ``.safetensors``, or from a torch file of tensors only.

    Raises:
        UserError: the file is missing, damaged, or holds something else than tensors by name.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: not a readable safetensors file ({error})") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (the unpickler raises whatever a damaged or hostile file provokes)
        raise UserError(f"{path}: not a torch file of tensors only ({str(error).splitlines()[0]})") from None
    if isinstance(state, dict) and isinstance(state.get("hubert"), dict):
        state = state["hubert"]  # Soft-VC's files keep the optimiser beside the weights
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path}: expected a state dict, tensors by name")
    return state


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
