"""The one place that knows the kinds of content encoder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from models.encoders.base import ContentEncoder
from models.encoders.hubert import Hubert, Wav2Vec2
from models.encoders.soft import SoftHubert
from models.encoders.spectral import MFCC, LogMel
from speech.errors import UserError

KINDS: dict[str, Callable[..., ContentEncoder]] = {
    "mfcc": MFCC,
    "logmel": LogMel,
    "hubert": Hubert,
    "wav2vec2": Wav2Vec2,
    "soft_hubert": SoftHubert,
}
TRANSFORMERS = ("hubert", "wav2vec2")  # kinds whose layer can be chosen


def build_encoder(config: Mapping[str, Any]) -> ContentEncoder:
    """Build the encoder that ``config`` describes, in evaluation mode and without weights from files.

    Args:
        config: ``kind``; ``layer`` (hubert, wav2vec2); ``options``: keyword arguments of the kind's class; ``seed`` of
            the random weights. Other keys are left alone.

    Raises:
        UserError: unknown kind or option, or a value that the encoder refuses.
    """
    kind = config["kind"]
    if kind not in KINDS:
        raise UserError(f"encoder.kind: {kind!r} is not one of {', '.join(KINDS)}")
    options = dict(config.get("options") or {})
    known = [name for name in inspect.signature(KINDS[kind]).parameters if name != "layer"]
    for name in options:
        if name not in known:
            raise UserError(f"encoder.options: unknown key '{name}' for {kind}; known are {', '.join(known)}")
    if kind in TRANSFORMERS:
        options["layer"] = int(config.get("layer", 0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(config.get("seed", 0)))
        try:
            encoder = KINDS[kind](**options)
        except (TypeError, ValueError) as error:
            raise UserError(f"{error}" if "encoder." in str(error) else f"encoder.options: {error}") from None
    return encoder.eval().requires_grad_(False)
