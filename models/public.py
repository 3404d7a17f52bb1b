"""Public checkpoints as our modules: key names of the published code mapped onto ours.

A system whose authors published weights maps their names in ``models/<system>/public.py``, whose ``LOADERS`` make a
module of a bare state dict. Here is what all of them share: finding the loader, and baring the state dict.

Understands both weight-norm spellings (``weight_g``/``weight_v`` and ``parametrizations``), the ``module.`` prefix
of data-parallel training and the outer ``{"generator": ...}``, ``{"mpd": ...}`` or ``{"msd": ...}`` of training
checkpoints.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

State = dict[str, Tensor]


def load(kind: str, checkpoint: Mapping[str, Any]) -> Any:
    """Build a module with the weights of a public checkpoint, sizes read off the weights.

    Args:
        kind: the system and the part, ``<system>/<part>``, such as a key of the ``LOADERS`` of its module ``public``.
        checkpoint: as ``torch.load(..., weights_only=True)`` gives it.

    Raises:
        KeyError: unknown ``kind``.
        RuntimeError: the weights do not fit the architecture (torch's message names the keys).
    """
    system, _, part = kind.partition("/")
    module = f"models.{system}.public"
    try:
        loaders = importlib.import_module(module).LOADERS
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise KeyError(kind) from None
        raise
    return loaders[kind](strip(checkpoint, part.rpartition("-")[2]))


_WRAPPERS = ("generator", "hubert", "acoustic-model")


def strip(checkpoint: Mapping[str, Any], part: str = "generator") -> State:
    """Return the bare state dict inside a training checkpoint (of ``part``), weight norm spelt torch's new way.

    It may lie beside an optimiser, under the part's name or another wrapper's, and inside that in ``model``.
    """
    names = (part, *_WRAPPERS)
    state = next((checkpoint[name] for name in names if isinstance(checkpoint.get(name), Mapping)), checkpoint)
    state = state["model"] if isinstance(state.get("model"), Mapping) else state
    state = {key.removeprefix("module."): value for key, value in state.items()}
    return {_new_norm_key(key, state): value for key, value in state.items()}


def _new_norm_key(key: str, state: Mapping[str, Tensor]) -> str:
    stem, _, name = key.rpartition(".")
    if f"{stem}.weight_orig" in state:
        names = {"weight_orig": "original", "weight_u": "0.u", "weight_v": "0.v"}
    else:
        names = {"weight_g": "original0", "weight_v": "original1"}
    if name in names:
        return f"{stem}.parametrizations.weight.{names[name]}"
    # torch's own spectral norm keeps its vectors under these names.
    return re.sub(r"\.parametrizations\.weight\.0\._([uv])$", r".parametrizations.weight.0.\1", key)


def rename(state: Mapping[str, Tensor], rules: Iterable[tuple[str, str]]) -> State:
    """Apply the first matching rule to each key."""
    rules = list(rules)
    renamed = {}
    for key, value in state.items():
        for pattern, replacement in rules:
            if re.search(pattern, key):
                key = re.sub(pattern, replacement, key)
                break
        renamed[key] = value
    return renamed
