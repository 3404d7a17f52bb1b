"""Fundamental frequency: tracking, per-speaker statistics and normalisation.

The resynthesis paper tracked with YAAPT (Polyak et al. 2021, section 2.1). WORLD's trackers stand in for it: they share
its time grid (frame ``n`` is centred on sample ``80 n`` at 16 kHz) and run an order of magnitude faster.
Harvest: Morise 2017 (Interspeech); DIO and StoneMask: Morise et al. 2009 and 2016; YAAPT: Zahorian and Hu 2008.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from speech.errors import UserError
from speech.rates import F0_HOP, SAMPLE_RATE

# Frames this far below the utterance's loudest frame hold no voice. WORLD reports periodicity there nevertheless
# (padding zeros, dither, codec noise); 50 dB keeps the weak ends of phrases, which lie 25 to 40 dB down.
SILENCE_DB = -50.0
# Below this RMS nothing is audible (-80 dB of full scale): a recording of near-zeros has no voiced frame at all.
SILENCE_RMS = 1e-4
LEVEL_WINDOW = 400  # samples (25 ms): more than two periods at 100 Hz, short against a syllable
# A voiced frame resembles itself one period later. Harvest fills gaps by design and reports F0 in fricatives and
# pauses; asking for this correlation halves its voicing disagreement with YAAPT. The value was chosen on six read
# sentences and ten digits (0.4 is as good); on recordings not used for that, frames disagreeing fell from 22 % to 10 %
# (ten sentences of LibriSpeech test-other) and from 20 % to 11 % (twenty digits of five speakers).
VOICED_CORRELATION = 0.5
# Mains hum, European and American. DIO's filters let through all that lies below a voice's F0 down to 50 Hz and take
# the most regular oscillation, so hum that is hardly heard hides the voice; where it is loud, a voice does not resemble
# itself one period later either. All ten sentences of LibriSpeech's train-clean-100 in which DIO heard less than a
# fifth voiced have it, 23 to 39 dB above its surroundings; weaker lines (LJSpeech: 10 to 16 dB) do not disturb. Its
# harmonics stay: they lie where voices do.
MAINS_HZ = (50.0, 60.0)
HUM_DB = 20.0
HUM_WINDOW = 8192  # samples (0.5 s): resolves 4 Hz
NOTCH_QUALITY = 10.0  # 6 Hz wide at 60 Hz; half of it leaves more of the hum, and more to disagree about with YAAPT
# DIO drops F0 that moves by more than this share between frames (its default 0.1 loses onsets); the correlation above
# removes what the wider range lets in.
DIO_RANGE = 0.2

# Where the published recipe leaves YAAPT's defaults: windows and hop in ms, and the threshold of a candidate.
YAAPT = {"frame_length": 20.0, "frame_space": 5.0, "tda_frame_length": 25.0, "nccf_thresh1": 0.25}
METHODS = ("harvest", "dio", "yaapt")

Normalisation = Literal["hz", "log"]


def num_f0_frames(num_samples: int) -> int:
    """Return the F0 frames of ``num_samples`` at 16 kHz: one per whole 80 samples (5 ms)."""
    return num_samples // F0_HOP


def extract_f0(wave: np.ndarray, method: str = "harvest", floor_hz: float = 60.0, ceil_hz: float = 400.0) -> np.ndarray:
    """Track F0 in Hz; unvoiced frames are exactly 0.

    Args:
        wave: ``(T,)`` float in [-1, 1] at 16 kHz.
        method: ``harvest`` (accurate), ``dio`` (with StoneMask refinement; several times faster) or ``yaapt`` (the
            published recipe; slow).
        floor_hz: lower end of the search, Hz; estimates below it are unvoiced.
        ceil_hz: upper end of the search, Hz; estimates above it are unvoiced.

    Returns:
        ``(T // 80,)`` float32; frame ``n`` is centred on sample ``80 n``. Every frame of a silent recording is
        unvoiced. WORLD's trackers hear the recording without mains hum; unvoiced with them are also frames more than
        50 dB below the loudest one (25 ms RMS) and frames that correlate by less than 0.5 with the signal one period
        later; YAAPT's own decisions stand as they are.

    Raises:
        UserError: ``method`` is unknown, or its package is not installed.
    """
    if method not in METHODS:
        raise UserError(f"f0.method: {method!r} is not one of {', '.join(METHODS)}")
    frames = num_f0_frames(len(wave))
    f0 = np.zeros(frames, dtype=np.float32)
    if not audible_frames(wave).any():
        return f0
    wave = np.asarray(wave, dtype=np.float64)
    if method == "yaapt":
        published = _yaapt(wave, floor_hz, ceil_hz)[:frames]
        f0[: len(published)] = published
        return f0
    wave = without_hum(wave)
    track = _world(wave, method, floor_hz, ceil_hz)[:frames]
    track[(track < floor_hz) | (track > ceil_hz) | ~audible_frames(wave)] = 0.0
    track[period_correlation(wave, track) < VOICED_CORRELATION] = 0.0
    f0[:] = track
    return f0


def _world(wave: np.ndarray, method: str, floor_hz: float, ceil_hz: float) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pkg_resources is deprecated")
        import pyworld
    period_ms = 1000.0 * F0_HOP / SAMPLE_RATE
    if method == "harvest":
        return pyworld.harvest(wave, SAMPLE_RATE, f0_floor=floor_hz, f0_ceil=ceil_hz, frame_period=period_ms)[0]
    coarse, times = pyworld.dio(
        wave, SAMPLE_RATE, f0_floor=floor_hz, f0_ceil=ceil_hz, frame_period=period_ms, allowed_range=DIO_RANGE
    )
    return pyworld.stonemask(wave, coarse, times, SAMPLE_RATE)


def _yaapt(wave: np.ndarray, floor_hz: float, ceil_hz: float) -> np.ndarray:
    try:
        from amfm_decompy import basic_tools, pYAAPT
    except ModuleNotFoundError:
        raise UserError("f0.method: yaapt needs AMFM_decompy: install it, or choose harvest or dio") from None
    # Half a frame on each side centres the first frame on the first sample.
    padding = round(YAAPT["frame_length"] / 2000 * SAMPLE_RATE)
    signal = basic_tools.SignalObj(np.pad(wave, padding), SAMPLE_RATE)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of means over nothing, where nothing is voiced
            return pYAAPT.yaapt(signal, f0_min=floor_hz, f0_max=ceil_hz, **YAAPT).samp_values
    except (IndexError, ValueError, ZeroDivisionError):
        # It does not foresee recordings without a voiced stretch; the published recipe takes those as unvoiced.
        return np.zeros(num_f0_frames(len(wave)))


def hum_lines(wave: np.ndarray) -> list[float]:
    """Return which of 50 and 60 Hz stand ``HUM_DB`` above both sides of the median spectrum of ``wave`` ``(T,)``.

    The median is blind to what does not last, as voices do not. A recording below a second is too short to tell.
    """
    from scipy.signal import welch

    if len(wave) < 2 * HUM_WINDOW:
        return []
    hertz, power = welch(wave, SAMPLE_RATE, nperseg=HUM_WINDOW, average="median")

    def stands_out(line: float) -> bool:
        away = hertz - line
        sides = (power[(away >= -14) & (away < -5)], power[(away > 5) & (away <= 14)])
        return power[abs(away) < 2.5].max() > 10 ** (HUM_DB / 10) * max(np.median(side) for side in sides)

    return [line for line in MAINS_HZ if stands_out(line)]


def without_hum(wave: np.ndarray) -> np.ndarray:
    """Return ``wave`` ``(T,)`` at 16 kHz without its `hum_lines`, if any, and without a delay: ``(T,)`` float64."""
    from scipy.signal import iirnotch, sosfiltfilt, tf2sos

    wave = np.ascontiguousarray(wave, dtype=np.float64)
    for line in hum_lines(wave):
        wave = sosfiltfilt(tf2sos(*iirnotch(line, NOTCH_QUALITY, SAMPLE_RATE)), wave)
    return np.ascontiguousarray(wave)


def frame_rms(wave: np.ndarray, hop: int = F0_HOP, window: int = LEVEL_WINDOW) -> np.ndarray:
    """Compute the RMS of ``wave`` ``(T,)`` over ``window`` samples around sample ``hop n``: ``(T // hop,)`` float64."""
    energy = np.concatenate(([0.0], np.cumsum(np.square(wave, dtype=np.float64))))
    centres = hop * np.arange(len(wave) // hop)
    start, end = np.maximum(centres - window // 2, 0), np.minimum(centres + window // 2, len(wave))
    return np.sqrt(np.maximum(energy[end] - energy[start], 0.0) / window)


def audible_frames(wave: np.ndarray) -> np.ndarray:
    """Return which F0 frames are loud enough to be voiced, by ``SILENCE_DB`` and ``SILENCE_RMS``: ``(T // 80,)``."""
    level = frame_rms(wave)
    loudest = level.max(initial=0.0)
    return level > max(SILENCE_RMS, loudest * 10 ** (SILENCE_DB / 20))


def period_correlation(wave: np.ndarray, f0: np.ndarray) -> np.ndarray:
    """Correlate 25 ms around each frame with the signal one period of ``f0`` later, normalised (Talkin 1995).

    Args:
        wave: ``(T,)`` at 16 kHz.
        f0: ``(N,)`` in Hz, ``N <= T // 80``, 0 = unvoiced.

    Returns:
        ``(N,)`` float64 in [-1, 1]: the best of the three lags nearest to the period; 0 where ``f0`` is 0.
    """
    best = np.zeros(len(f0))
    voiced = np.flatnonzero(f0 > 0)
    if not len(voiced):
        return best
    lags = np.rint(SAMPLE_RATE / f0[voiced]).astype(np.int64)
    margin = LEVEL_WINDOW + int(lags.max()) + 1
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(np.asarray(wave, np.float64), margin), LEVEL_WINDOW)
    start = margin + F0_HOP * voiced - (LEVEL_WINDOW + lags) // 2
    here = _unit(windows[start])
    candidates = [np.einsum("nw,nw->n", here, _unit(windows[start + lags + shift])) for shift in (-1, 0, 1)]
    best[voiced] = np.max(candidates, axis=0)
    return best


def _unit(windows: np.ndarray) -> np.ndarray:
    centred = windows - windows.mean(axis=1, keepdims=True)
    return centred / np.sqrt(np.square(centred).sum(axis=1, keepdims=True) + 1e-9)


@dataclass
class VoicedSums:
    """Running sums over voiced frames, float64: adds utterances one at a time, yields mean and deviation."""

    frames: int = 0
    total: float = 0.0
    squares: float = 0.0
    log_total: float = 0.0
    log_squares: float = 0.0

    def add(self, f0: np.ndarray) -> None:
        """Add one utterance: ``f0`` ``(N,)`` in Hz, 0 where unvoiced."""
        voiced = np.asarray(f0, dtype=np.float64)
        voiced = voiced[voiced > 0]
        logs = np.log(voiced)
        self.frames += len(voiced)
        self.total += float(voiced.sum())
        self.squares += float((voiced**2).sum())
        self.log_total += float(logs.sum())
        self.log_squares += float((logs**2).sum())

    def merge(self, other: VoicedSums) -> None:
        """Add another speaker's or shard's sums."""
        for name in ("frames", "total", "squares", "log_total", "log_squares"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def statistics(self) -> dict[str, float | int | dict[str, float]]:
        """Return ``{"hz": {"mean", "std"}, "log": {"mean", "std"}, "voiced_frames"}``; log is natural, of Hz.

        Raises:
            UserError: no voiced frame was added.
        """
        if not self.frames:
            raise UserError("F0 statistics: no voiced frame; is this speech, and do f0.floor_hz and f0.ceil_hz fit it?")
        hz = _moments(self.frames, self.total, self.squares)
        return {"hz": hz, "log": _moments(self.frames, self.log_total, self.log_squares), "voiced_frames": self.frames}


def _moments(count: int, total: float, squares: float) -> dict[str, float]:
    mean = total / count
    return {"mean": mean, "std": math.sqrt(max(squares / count - mean**2, 0.0))}


def voiced_statistics(f0: np.ndarray) -> dict[str, float | int | dict[str, float]]:
    """Return the statistics of one F0 track ``(N,)`` in Hz (0 = unvoiced); see :meth:`VoicedSums.statistics`."""
    sums = VoicedSums()
    sums.add(f0)
    return sums.statistics()


# A monotone (synthetic or very short) voice has no deviation to divide by; 1 Hz and 1 % are below what is heard.
SMALLEST_STD = {"hz": 1.0, "log": 0.01}


def normalise_f0(f0: np.ndarray, stats: Mapping, mode: Normalisation = "hz") -> np.ndarray:
    """Normalise voiced frames to a per-speaker z-score; unvoiced ones stay exactly 0 (Polyak et al. 2021, section 2.1).

    Args:
        f0: ``(..., N)`` in Hz, 0 = unvoiced.
        stats: a speaker's entry, ``{"hz": {"mean", "std"}, "log": {"mean", "std"}, ...}``.
        mode: ``hz`` as published, or ``log`` (natural), in which equal musical intervals are equal distances.

    Returns:
        float32 of the same shape.
    """
    mean, std = location_scale(stats, mode)
    f0 = np.asarray(f0, dtype=np.float64)
    voiced = f0 > 0
    values = np.log(f0, out=np.zeros_like(f0), where=voiced) if mode == "log" else f0
    return np.where(voiced, (values - mean) / std, 0.0).astype(np.float32)


def denormalise_f0(normalised: np.ndarray, stats: Mapping, mode: Normalisation, voiced: np.ndarray) -> np.ndarray:
    """Invert :func:`normalise_f0`: Hz, 0 where ``voiced`` (bool, same shape) is false.

    Voicing is an argument because a voiced frame at exactly the mean is 0 too.
    """
    mean, std = location_scale(stats, mode)
    values = np.asarray(normalised, dtype=np.float64) * std + mean
    return np.where(voiced, np.exp(values) if mode == "log" else values, 0.0).astype(np.float32)


def location_scale(stats: Mapping, mode: Normalisation) -> tuple[float, float]:
    """Return the mean and deviation that :func:`normalise_f0` uses, in Hz or natural log of Hz."""
    return float(stats[mode]["mean"]), max(float(stats[mode]["std"]), SMALLEST_STD[mode])
