"""Quality of an output against the recording that it repeats: STOI, PESQ, mel-cepstral distortion.

The reference says the same, in the same voice, at the same time: resyntheses have one, conversions do not. One constant
delay of up to 0.1 s is taken out first (:func:`speech.metrics.alignment.best_lag`).
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np

from speech.errors import UserError
from speech.metrics.alignment import best_lag, shift, speech_frames, warp
from speech.metrics.cepstra import mel_cepstra
from speech.rates import SAMPLE_RATE

# Of the natural-logarithm cepstra's distance in dB (Kubichek 1993).
DB = 10 / np.log(10) * np.sqrt(2)


def aligned(reference: np.ndarray, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return reference and output, ``(T,)`` float64 each: the delay taken out, the output cut or padded in length."""
    lag = best_lag(reference, output)
    return np.asarray(reference, np.float64), shift(np.asarray(output, np.float64), lag, len(reference))


def stoi(reference: np.ndarray, output: np.ndarray) -> float | None:
    """Compute short-time objective intelligibility (Taal et al. 2011), 0 to 1, by pystoi.

    Args:
        reference: ``(T,)`` in [-1, 1] at 16 kHz.
        output: ``(S,)`` likewise.

    Returns:
        None where less than 0.4 s is left of the reference without its silences, too little for the measure.
    """
    pystoi = _package("pystoi", "stoi")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(*aligned(reference, output), SAMPLE_RATE))
        except RuntimeWarning:
            return None


def pesq(reference: np.ndarray, output: np.ndarray) -> float | None:
    """Compute wideband PESQ (ITU-T P.862.2), 1 to 4.64, by the package ``pesq``; it aligns in time by itself.

    Args:
        reference: ``(T,)`` in [-1, 1] at 16 kHz.
        output: ``(S,)`` likewise.

    Returns:
        None where PESQ finds no utterance, or less than 0.25 s.
    """
    package = _package("pesq", "pesq")
    if not np.any(reference) or not np.any(output):
        return None
    try:
        score = float(package.pesq(SAMPLE_RATE, *aligned(reference, output), "wb"))
    except (package.NoUtterancesError, package.BufferTooShortError):
        return None
    return score if np.isfinite(score) else None


def mel_cepstral_distortion(reference: np.ndarray, output: np.ndarray) -> float | None:
    """Compute mel-cepstral distortion in dB (Kubichek 1993).

    It is the mean over time of ``10 sqrt(2) / ln 10`` times the distance.

    Mel-cepstra 1 to 24 (:mod:`speech.metrics.cepstra`), without the level, of the stretches of speech; frames are
    paired by dynamic time warping, and the mean is over the pairs.

    Args:
        reference: ``(T,)`` in [-1, 1] at 16 kHz.
        output: ``(S,)`` likewise.

    Returns:
        None where either has no speech.
    """
    bounds = [speech_frames(wave) for wave in (reference, output)]
    if any(start == end for start, end in bounds):
        return None
    waves = zip((reference, output), bounds, strict=True)
    one, other = (mel_cepstra(wave)[start:end, 1:] for wave, (start, end) in waves)
    first, second = warp(one, other)
    return float(DB * np.linalg.norm(one[first] - other[second], axis=1).mean())


def _package(name: str, judge: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"evaluate.quality: {judge} needs {name}: pip install 'respeak[pipeline]'") from None
