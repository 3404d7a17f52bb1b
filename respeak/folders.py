"""Folders that hold a system or a part of one: tensors and configuration, read with distrust, written whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from speech.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch

CONFIG = "config.yaml"


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a safetensors file, by name.

    Raises:
        UserError: missing, or not a readable safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the stage that makes it first") from None
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); make it again") from None


def shapes(path: Path) -> dict[str, list[int]]:
    """Read the shapes of tensors by name, weights unread; errors are those of `read_tensors`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); make the bundle again") from None


def check_shapes(path: Path, expected: Mapping[str, list[int]]) -> None:
    """Refuse a file of other tensors than ``expected``.

    Raises:
        UserError: names the first that differs.
    """
    found = shapes(path)
    for name in [*expected, *sorted(found)]:
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{path}: not the architecture of {CONFIG}: tensor '{name}' is {found.get(name, 'absent')}, "
                f"expected {expected.get(name, 'none')}; make the bundle again"
            )


def save_state(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict as safetensors."""
    import torch
    from safetensors.torch import save_file

    tensors = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in state.items() if torch.is_tensor(v)}
    save_file(tensors, path)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: missing, or not YAML of a mapping.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the stage that makes it first") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected a mapping of keys to values")
    return config


@contextmanager
def building(directory: Path) -> Iterator[Path]:
    """Give a folder beside ``directory`` that takes its place, whole, when the block ends well; else it vanishes."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        yield made
        _publish(made, directory)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _publish(made: Path, directory: Path) -> None:
    for path in [p for p in made.rglob("*") if p.is_file()]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    made.chmod(0o755)  # mkdtemp makes it private
    if not directory.exists():
        made.rename(directory)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{directory.name}.old.", dir=directory.parent))
    directory.rename(old / directory.name)
    made.rename(directory)
    shutil.rmtree(old)
