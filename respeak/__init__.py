"""Respeak for callers: load a system's bundle, convert recordings.

    import respeak
    system = respeak.load("systems/resynthesis")
    wave = system.convert(wave, rate, target="anna")     # (T,) float32 in [-1, 1] at 16 kHz

Whatever system the bundle holds, it answers to :class:`System`. Importing this package is light; torch is loaded with
the first bundle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from respeak.systems.base import Control, System
    from respeak.systems.registry import load_system as load

__all__ = ["Control", "System", "load"]

_HOMES = {
    "Control": ("respeak.systems.base", "Control"),
    "System": ("respeak.systems.base", "System"),
    "load": ("respeak.systems.registry", "load_system"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'respeak' has no attribute '{name}'")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
