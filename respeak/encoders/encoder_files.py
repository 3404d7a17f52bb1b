"""A content encoder on disk: ``config.yaml`` and, where it has weights, ``model.safetensors``.

Apart from `respeak.encoders.loading`, which builds networks: who asks what an encoder is does not depend on how it
computes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from speech.errors import UserError

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"


def read_config(directory: Path | str) -> dict[str, Any]:
    """Read an encoder's configuration.

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
