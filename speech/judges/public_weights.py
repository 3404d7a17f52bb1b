"""Weights of judges that others published, read with distrust: a damaged file, or another model's, is named."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speech.errors import UserError

# How torch tells that a file is not what it should be.
DAMAGE = (RuntimeError, EOFError, ValueError, LookupError, AttributeError, OSError, pickle.UnpicklingError)


def load_weights(weights: Path, load: Callable[[Any], object]) -> None:
    """Read a torch file of tensors and give them to ``load``, such as a module's ``load_state_dict``.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    import torch

    try:
        load(torch.load(weights, map_location="cpu", weights_only=True))
    except DAMAGE as error:
        raise damaged(weights, error) from None


def damaged(weights: Path, error: Exception) -> UserError:
    """Return the error for weights that cannot be read; torch tells damage by many kinds of errors."""
    reason = " ".join(str(error).split())[:160]
    return UserError(f"{weights}: not the weights that this judge needs ({reason}); get the file anew")
