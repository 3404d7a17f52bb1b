"""Whatever a bundle holds, loaded: the one place that knows the kinds of system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from respeak.bundle import SOFT_VC, read_config
from respeak.folders import CONFIG, read_yaml

SYSTEMS = Path("systems")

if TYPE_CHECKING:
    from respeak.systems.resynthesis.system import System
    from respeak.systems.softvc.system import SoftVC


def find_system(name: Path | str) -> Path:
    """The folder of a system that is named by it, by its name under ``systems/``, or as ``softvc``."""
    path = Path(name)
    if path.is_dir():
        return path
    found = [folder for folder in (SYSTEMS / path, SYSTEMS / f"{path}-soft") if folder.is_dir()]
    return found[0] if found else path


def is_softvc(name: Path | str) -> bool:
    """Whether it is a Soft-VC system; a folder that is none of ours is not."""
    path = find_system(name) / CONFIG
    return path.is_file() and read_yaml(path).get("system") == SOFT_VC


def load_system(path: Path | str, device: str = "auto", untrained_seed: int | None = None) -> System | SoftVC:
    """The system of a bundle, ready to convert.

    Args:
        path: its folder.
        device: auto, cpu or cuda.
        untrained_seed: draw what was trained afresh (a baseline).

    Raises:
        UserError: no bundle, a damaged one, or of a system that is not known.
    """
    if read_config(path)["system"] == SOFT_VC:
        from respeak.systems.softvc.bundle import SoftVCBundle
        from respeak.systems.softvc.system import SoftVC

        return SoftVC(SoftVCBundle.load(path), device, untrained_seed)
    from respeak.bundle import Bundle
    from respeak.systems.resynthesis.system import System

    return System(Bundle.load(path), device, untrained_seed)
