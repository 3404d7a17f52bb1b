"""Speaker embeddings by Resemblyzer: d-vectors of a generalised end-to-end speaker verification network.

Wan et al. 2018 ("Generalized end-to-end loss for speaker verification"); weights are inside the package (Apache 2.0).
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

DIM = 256
TARGET_DBFS = -30  # Resemblyzer's: quieter recordings are brought up to it, louder ones are left alone
VAD_WINDOW = 480  # samples (30 ms): the voice activity detector sees nothing shorter


def embed(wave: np.ndarray) -> np.ndarray:
    """Embed a recording as its d-vector.

    Silences are cut by voice activity detection, except where it would leave nothing (short or odd-sounding words).
    Recordings under 1.6 s are padded with zeros, as the package does. On 120 single digits of six speakers that told
    them apart better than repeating the word (nearest speaker 96 % against 94-95 %, EER 23-24 % against 26-27 %);
    cutting silence or not made no clear difference there (EER 24 % and 23 %).

    Args:
        wave: ``(T,)`` float in [-1, 1] at 16 kHz, ``T > 0``.

    Returns:
        ``(256,)`` float32 of length 1, every element >= 0; all zeros for digital silence, which has no speaker.
    """
    wave = np.asarray(wave, dtype=np.float32)
    if not np.any(wave):
        return np.zeros(DIM, dtype=np.float32)
    audio = _audio()
    levelled = audio.normalize_volume(wave, TARGET_DBFS, increase_only=True)
    # Bringing a quiet recording up may push single clicks beyond full scale, where 16-bit samples would wrap around.
    voiced = audio.trim_long_silences(np.clip(levelled, -1, 1)) if len(wave) >= VAD_WINDOW else levelled
    return np.asarray(_encoder().embed_utterance(voiced if len(voiced) else levelled), dtype=np.float32)


def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of d-vectors ``(..., 256)``: the scalar product, for they have length 1."""
    return np.sum(np.asarray(one) * np.asarray(other), axis=-1)


@cache
def _encoder() -> Any:
    _audio()
    import torch
    from resemblyzer import VoiceEncoder

    return VoiceEncoder(torch.device("cpu"), verbose=False)


@cache
def _audio() -> Any:
    with warnings.catch_warnings():
        # webrtcvad imports pkg_resources and Resemblyzer an old name of scipy's: both warn, both work.
        warnings.simplefilter("ignore")
        from resemblyzer import audio
    return audio
