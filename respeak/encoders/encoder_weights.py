"""Weights of an encoder that somebody else trained: a file, a Hugging Face folder, or an encoder's own folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from respeak.encoders.encoder_files import CONFIG, WEIGHTS, read_config, read_state
from speech.errors import UserError
from speech.fetching.downloads import file_sha256

if TYPE_CHECKING:
    import torch


def read_encoder_weights(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any], str]:
    """Read weights, the encoder options that lie beside them, and the sha256 of what was read.

    Folders are Hugging Face's, or of an encoder as ``save_encoder`` leaves one (what pretraining makes).

    Raises:
        UserError: damaged, not tensors only, or of another kind of encoder.
    """
    if not path.is_dir():
        return read_state(path), {}, file_sha256(path)
    if (path / CONFIG).is_file():
        config, weights = read_config(path), path / WEIGHTS
        if config["kind"] != kind:
            raise UserError(f"{path}: an encoder of kind {config['kind']}; encoder.kind is {kind}")
        return read_state(weights), dict(config.get("options") or {}), file_sha256(weights)
    options = _huggingface_options(path / "config.json", kind)
    files = _huggingface_files(path)
    state: dict[str, torch.Tensor] = {}
    for file in files:
        state |= read_state(file)
    digests = [file_sha256(file) for file in files]
    return state, options, digests[0] if len(digests) == 1 else "+".join(digests)


def _huggingface_options(path: Path, kind: str) -> dict[str, Any]:
    from models.encoders.keys import huggingface_options

    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; a folder of weights is to be a Hugging Face model's") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != kind:
        raise UserError(f"{path}: describes a model of type {found}; encoder.kind is {kind}")
    try:
        return huggingface_options(config)
    except KeyError as error:
        raise UserError(f"{path}: key {error} is missing") from None
    except ValueError as error:
        raise UserError(f"{path}: this {kind} cannot be read: {error}") from None


def _huggingface_files(folder: Path) -> list[Path]:
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        # Names in an index are those of files beside it, whatever it states.
        return [folder / Path(name).name for name in sorted(names)]
    if (folder / "pytorch_model.bin").is_file():
        return [folder / "pytorch_model.bin"]
    raise UserError(f"{folder}: no model.safetensors (nor its index, nor pytorch_model.bin) in this folder")
