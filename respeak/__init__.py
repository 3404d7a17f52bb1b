"""Respeak for callers: load a system bundle, resynthesise recordings, convert voices.

    from respeak import System
    system = System.load("systems/resynthesis")
    wave = system.convert(wave, rate, target="anna")     # (T,) float32 in [-1, 1] at 16 kHz

Importing this package is light; torch is loaded with the first bundle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from respeak.bundle import Bundle, save_bundle
    from respeak.systems.resynthesis.system import Encoded, System

__all__ = ["Bundle", "Encoded", "System", "save_bundle"]

_HOMES = {
    "Bundle": "respeak.bundle",
    "Encoded": "respeak.systems.resynthesis.system",
    "System": "respeak.systems.resynthesis.system",
    "save_bundle": "respeak.bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'respeak' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
