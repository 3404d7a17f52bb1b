"""Spectrograms as PNG, encoded here: no plotting library starts within a stage's 1.5 seconds."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

FFT, HOP = 512, 80
DYNAMIC_RANGE_DB = 70.0
# From dark to bright, evenly spaced; equal steps of level look about equally large.
_ANCHORS = ((11, 10, 32), (70, 22, 92), (150, 42, 84), (222, 84, 46), (250, 168, 40), (252, 248, 180))
LEVELS = 64


def spectrogram(wave: np.ndarray) -> np.ndarray:
    """Compute levels ``(256, frames)`` uint8 below ``LEVELS``, highest frequency first.

    Args:
        wave: ``(T,)`` at 16 kHz; one frame every 5 ms.
    """
    padded = np.pad(np.asarray(wave, np.float64), FFT // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(FFT), axis=1))[:, :-1] ** 2
    # An absolute floor, 100 dB below a full-scale sine, keeps silence dark instead of stretching its noise.
    decibels = 10 * np.log10(power + (FFT / 4) ** 2 * 1e-10)
    above = decibels - (decibels.max() - DYNAMIC_RANGE_DB)
    return np.clip(above / DYNAMIC_RANGE_DB * (LEVELS - 1), 0, LEVELS - 1).astype(np.uint8).T[::-1]


def encode_png(levels: np.ndarray) -> bytes:
    """Encode levels ``(height, width)`` uint8 as a palette PNG."""
    height, width = levels.shape
    rows = np.hstack([np.zeros((height, 1), np.uint8), levels]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", _palette()), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def data_url(kind: str, data: bytes) -> str:
    """Return ``data`` as a URL inside the page itself, as MIME type ``kind``."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _palette() -> bytes:
    places = np.linspace(0, len(_ANCHORS) - 1, LEVELS)
    channels = [np.interp(places, np.arange(len(_ANCHORS)), channel) for channel in zip(*_ANCHORS, strict=True)]
    return np.stack(channels, axis=1).round().astype(np.uint8).tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
