"""The systems that there are: a package of this folder each, found by its name and imported when it is asked for."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from pathlib import Path

from respeak.systems.base import Control, System
from speech.errors import UserError

SYSTEMS = Path("systems")


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of all systems; none is imported."""
    # By the folder of this file: a caller of the hub may have another package of our name.
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.ispkg))


@functools.cache
def find(name: str) -> type[System]:
    """Return the system of a name.

    Raises:
        UserError: there is none; lists those that there are.
    """
    if name not in names():
        raise UserError(f"no system '{name}'; there are {', '.join(names())}")
    module = importlib.import_module(f"respeak.systems.{name}.system")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, System) and vars(value).get("name") == name
    )


def bundled_names() -> list[str]:
    """Return the names of the systems that are loaded from bundles."""
    return [name for name in names() if find(name).bundled]


def systems_taking(control: Control) -> list[str]:
    """Return the names of the systems that take a control."""
    return [name for name in bundled_names() if control in find(name).takes]


def find_system(name: Path | str) -> Path:
    """Return the bundle's folder that is meant by a path, by a folder's name in ``systems/``, or by a system's name."""
    path = Path(name)
    if path.is_dir():
        return path
    usual = find(str(name)).usual_bundle if str(name) in names() else ""
    return next((folder for folder in (SYSTEMS / path, SYSTEMS / (usual or path)) if folder.is_dir()), path)


def system_of(path: Path | str) -> type[System]:
    """Return the system whose bundle lies at ``path``.

    Raises:
        UserError: no bundle lies there, or that of a system which is not known.
    """
    from respeak.bundle import read_config

    return find(read_config(path)["system"])


def load_system(name: Path | str, device: str = "auto", untrained_seed: int | None = None) -> System:
    """Load whatever system is meant (see `find_system`); arguments and errors as `System.load`."""
    return System.load(find_system(name), device, untrained_seed)
