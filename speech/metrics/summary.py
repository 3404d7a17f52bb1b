"""The metrics of one experiment, from counts per utterance and scores per trial, each with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from speech.metrics.bootstrap import SET_RESAMPLES, Interval, ratio_interval, set_interval
from speech.metrics.frechet import fit_gaussian, frechet_distance
from speech.metrics.genuine import GenuineTrials, genuine_eer
from speech.metrics.inception import RealDigits, am_score, inception_score, modified_inception_score
from speech.metrics.speaker_metrics import eer_interval, nearest_speaker_hits

_TEXT = ("word_errors", "words", "char_errors", "chars")
_PHONES = ("phoneme_errors", "phones")
_F0 = ("frames", "voicing_errors", "voiced_both", "gross_errors")
# Columns whose metric, of the same name, is the mean over the utterances that have it.
MEANS = (
    "f0_pcc",
    "stoi",
    "pesq",
    "mcd",
    "squim_stoi",
    "squim_pesq",
    "squim_si_sdr",
    "dnsmos",
    "dnsmos_signal",
    "dnsmos_background",
    "utmos",
    "speaker_similarity",
)

# What is counted for each utterance; null where there is no text, or no F0 comparison.
UTTERANCES = pa.schema(
    [
        ("id", pa.string()),
        ("source_id", pa.string()),
        ("source_speaker", pa.string()),
        ("target_speaker", pa.string()),
        ("seconds", pa.float64()),
        ("reference", pa.string()),
        ("hypothesis", pa.string()),
        ("digit_heard", pa.string()),
        ("digits_right", pa.int64()),
        # (10,) and (D,) little-endian float32: what the digit classifier made of it.
        ("digit_log_probabilities", pa.binary()),
        ("digit_features", pa.binary()),
        ("phones_said", pa.string()),
        ("phones_heard", pa.string()),
        *((name, pa.int64()) for name in (*_TEXT, *_PHONES, *_F0)),
        ("squared_cents", pa.float64()),
        ("f0_lag_ms", pa.float64()),
        *((name, pa.float64()) for name in MEANS),
    ]
)
# One line per trial: a group of joined utterances against one enrolled speaker; of conversions also against a recording
# of the voice (converted), and that against another (genuine).
TRIALS = pa.schema(
    [
        ("trial", pa.string()),
        ("group", pa.string()),
        ("utterances", pa.string()),
        ("seconds", pa.float64()),
        ("intended", pa.string()),
        ("claimed", pa.string()),
        ("score", pa.float64()),
    ]
)

Metrics = dict[str, float]


def utterance_metrics(rows: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Metrics:
    """Compute everything that is measured of utterances one by one, from rows of :data:`UTTERANCES`."""
    return {
        "utterances": float(len(rows)),
        "utterances_without_text": float(sum(row["words"] is None for row in rows)),
        **word_metrics(rows, resamples, seed),
        **phoneme_metrics(rows, resamples, seed),
        **digit_metrics(rows, resamples, seed),
        **f0_metrics(rows, resamples, seed),
        **mean_metrics(rows, resamples, seed),
    }


def word_metrics(rows: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Metrics:
    """Compute ``wer`` and ``cer`` in percent, over the utterances that have text; nothing when none has."""
    rows = [row for row in rows if row["words"]]
    if not rows:
        return {}
    wer = ratio_interval(_column(rows, "word_errors"), _column(rows, "words"), resamples, seed)
    cer = ratio_interval(_column(rows, "char_errors"), _column(rows, "chars"), resamples, seed)
    return {**_named("wer", wer, 100.0), **_named("cer", cer, 100.0)}


def phoneme_metrics(rows: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Metrics:
    """Compute ``per`` in percent, over the utterances whose phonemes were judged; nothing when none was."""
    rows = [row for row in rows if row["phones"]]
    if not rows:
        return {}
    per = ratio_interval(_column(rows, "phoneme_errors"), _column(rows, "phones"), resamples, seed)
    return _named("per", per, 100.0)


def digit_metrics(rows: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Metrics:
    """Compute ``digit_accuracy`` in percent, over utterances whose text is a digit; nothing when none was judged."""
    right = np.array([row["digits_right"] for row in rows if row["digits_right"] is not None], np.float64)
    if not len(right):
        return {}
    return _named("digit_accuracy", ratio_interval(right, np.ones(len(right)), resamples, seed), 100.0)


def digit_set_metrics(rows: Sequence[Mapping[str, Any]], real: RealDigits | None, resamples: int, seed: int) -> Metrics:
    """Compute ``digit_fid``, ``inception_score``, ``modified_inception_score`` and ``am_score`` of all digits together.

    Args:
        rows: of :data:`UTTERANCES`; those that the digit classifier heard count. Nothing where they are fewer than two.
        real: what it makes of its training recordings; None where there is no classifier.
        resamples: how many sets are drawn for the intervals, `SET_RESAMPLES` at most.
        seed: of the draws.
    """
    rows = [row for row in rows if row["digit_features"] is not None]
    if real is None or len(rows) < 2:
        return {}
    features, logs = (
        np.stack([np.frombuffer(row[name], "<f4") for row in rows])
        for name in ("digit_features", "digit_log_probabilities")
    )
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "digit_fid": lambda drawn: frechet_distance(fit_gaussian(features[drawn]), real.features),
        "inception_score": lambda drawn: inception_score(logs[drawn]),
        "modified_inception_score": lambda drawn: modified_inception_score(logs[drawn]),
        "am_score": lambda drawn: am_score(logs[drawn], real.probabilities),
    }
    draws = min(resamples, SET_RESAMPLES)
    found = {name: set_interval(measure, len(rows), draws, seed) for name, measure in measures.items()}
    return {key: value for name, interval in found.items() for key, value in _named(name, interval, 1.0).items()}


def f0_metrics(rows: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Metrics:
    """Compute ``vde``, ``gpe``, ``ffe`` in percent and ``f0_rmse_cents``; what has no frames to count is left out."""
    rows = [row for row in rows if row["frames"]]
    if not rows:
        return {}
    frames, both = _column(rows, "frames"), _column(rows, "voiced_both")
    voicing, gross = _column(rows, "voicing_errors"), _column(rows, "gross_errors")
    squared = ratio_interval(_column(rows, "squared_cents"), both, resamples, seed)
    rmse = Interval(math.sqrt(squared.value), math.sqrt(squared.low), math.sqrt(squared.high))
    return {
        **_named("vde", ratio_interval(voicing, frames, resamples, seed), 100.0),
        **_named("gpe", ratio_interval(gross, both, resamples, seed), 100.0),
        **_named("ffe", ratio_interval(voicing + gross, frames, resamples, seed), 100.0),
        **_named("f0_rmse_cents", rmse, 1.0),
    }


def mean_metrics(rows: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Metrics:
    """Compute the mean of every column of ``MEANS``, over the utterances that have a value; nothing where none has."""
    metrics: Metrics = {}
    for name in MEANS:
        values = np.array([row[name] for row in rows if row.get(name) is not None], np.float64)
        if len(values):
            metrics |= _named(name, ratio_interval(values, np.ones(len(values)), resamples, seed), 1.0)
    return metrics


def speaker_metrics(scores: np.ndarray, intended: np.ndarray, resamples: int, seed: int) -> Metrics:
    """Compute ``speaker_accuracy`` and ``eer`` in percent; nothing when fewer than two speakers can be told apart.

    Args:
        scores: ``(G, S)`` of every group of joined utterances against every enrolled speaker.
        intended: ``(G,)`` index of the speaker that each group is meant to be.
        resamples: how many sets of groups are drawn for the intervals.
        seed: of the draws.
    """
    if scores.shape[0] == 0 or scores.shape[1] < 2:
        return {}
    hits = nearest_speaker_hits(scores, intended)
    accuracy = ratio_interval(hits, np.ones(len(hits)), resamples, seed)
    return {
        **_named("speaker_accuracy", accuracy, 100.0),
        **_named("eer", eer_interval(scores, intended, resamples, seed), 1.0),
    }


def genuine_metrics(trials: GenuineTrials | None, resamples: int, seed: int) -> Metrics:
    """Compute ``genuine_eer`` in percent; nothing where nothing was converted, or a voice has too few recordings."""
    return {} if trials is None else _named("genuine_eer", genuine_eer(trials, resamples, seed), 1.0)


def _named(name: str, interval: Interval, scale: float) -> Metrics:
    bounds = {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {key: scale * value for key, value in bounds.items() if math.isfinite(value)}


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], np.float64)
