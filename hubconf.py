"""torch.hub entries: ``torch.hub.load("<owner>/<repository>", "resynthesis", "systems/resynthesis")``.

What is loaded works wherever it is called, even where the caller has other packages named ``models`` or ``speech``:
ours are imported whole while torch.hub looks, and the caller keeps its own under those names.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.resynthesis import F0VQVAE, UnitGenerator, WaveVQVAE
    from respeak import System

dependencies = ["torch", "numpy", "pyarrow", "pyworld", "safetensors", "soundfile", "soxr", "yaml"]

_ROOT = Path(__file__).resolve().parent
_PACKAGES = ("speech", "models", "respeak")
# For training and the command line, which want more packages than using a system does.
_LEFT_OUT = ("training", "cli", "cli_corpus", "cli_render", "cli_units", "doctor")


def resynthesis(path: str, device: str = "auto") -> System:
    """A trained system with ``convert(wave, rate, target)``, ``resynthesize(wave, rate)`` and ``say(units, voice)``.

    Args:
        path: folder of its bundle.
        device: auto, cpu or cuda.
    """
    return _module("respeak.api").System.load(path, device)


def code_generator(weights: str) -> UnitGenerator | WaveVQVAE:
    """The unit vocoder of a public checkpoint of Polyak et al. 2021 (a ``g_...`` file), in eval mode.

    ``model(units, f0, speaker)`` gives ``(B, 1, T)`` at 16 kHz. A checkpoint of the audio VQ-VAE gives that one.
    """
    return _public("resynthesis/code_generator", weights)


def f0_vqvae(weights: str) -> F0VQVAE:
    """The F0 quantiser of a public checkpoint: ``encode(f0)``, ``decode(codes)``, in eval mode."""
    return _public("resynthesis/f0_vqvae", weights)


def _public(kind: str, weights: str) -> Any:
    import torch

    public = _module("models.public")
    checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
    return public.load(kind, checkpoint).eval()


def _module(name: str) -> Any:
    return _import_ours()[name]


def _import_ours() -> dict[str, Any]:
    """Our modules by name; ``sys.modules`` keeps the caller's where it has any of the same name."""
    theirs = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in _PACKAGES and not _is_ours(module)
    }
    tops = {name: sys.modules.get(name) for name in _PACKAGES}
    for name in theirs:
        del sys.modules[name]
    sys.path.insert(0, str(_ROOT))
    try:
        ours = {name: importlib.import_module(name) for name in _names()}
    finally:
        sys.path.remove(str(_ROOT))
        sys.modules.update(theirs)
        # What our functions import when called is found by its full name; the short ones are the caller's to give.
        for name, module in tops.items():
            if module is None:
                sys.modules.pop(name, None)
    return ours


def _is_ours(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(_ROOT)


def _names() -> list[str]:
    found = []
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*.py")):
            parts = path.relative_to(_ROOT).with_suffix("").parts
            if parts[-1] not in _LEFT_OUT:
                found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found
