"""k-means centres from files: ours, NumPy's, and Soft-VC's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from speech.errors import UserError

# The entry of a safetensors file's metadata that holds, as JSON, what the centres are.
STATED = "centres"


def read_centres(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Read centres ``(K, D)`` float32, and what the file states of itself.

    ``.safetensors`` holds one tensor (``centroids`` if there are more), ``.npy`` an array, ``.pt`` a dictionary of
    tensors with ``cluster_centers_`` (scikit-learn's name, as in Soft-VC's file). Pickles and joblib files are
    refused: reading them runs their code.

    Raises:
        UserError: another format, a damaged file, or something else than a finite matrix.
    """
    readers = {".safetensors": _read_safetensors, ".npy": _read_npy, ".pt": _read_torch}
    if path.suffix not in readers:
        raise UserError(
            f"{path}: centres are read from {', '.join(readers)}; a joblib or pickle file runs code when it is read: "
            "convert it where you trust it, with numpy.save('centres.npy', model.cluster_centers_)"
        )
    centres, meta = readers[path.suffix](path)
    if centres.ndim != 2 or not np.issubdtype(centres.dtype, np.floating) or not np.isfinite(centres).all():
        raise UserError(f"{path}: expected finite centres (K, D), found {centres.dtype} {centres.shape}")
    return np.ascontiguousarray(centres, dtype=np.float32), meta


def _read_safetensors(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            name = "centroids" if "centroids" in names or len(names) != 1 else names[0]
            metadata = file.metadata() or {}
            return file.get_tensor(name), json.loads(metadata.get(STATED, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: no centres can be read from it ({error})") from None


def _read_npy(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    try:
        return np.load(path, allow_pickle=False), {}
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a NumPy array ({error})") from None


def _read_torch(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (the unpickler raises whatever a damaged or hostile file provokes)
        raise UserError(f"{path}: not a torch file of tensors only ({str(error).splitlines()[0]})") from None
    centres = content.get("cluster_centers_") if isinstance(content, dict) else content
    if not isinstance(centres, torch.Tensor):
        raise UserError(f"{path}: no tensor 'cluster_centers_' in it")
    return centres.numpy(), {}
