"""Recordings in and out: checked decoding, conditioning to 16 kHz, and the bytes that shards hold.

Conditioning follows the speech-resynthesis preprocessing (Polyak et al., 2021): resample, trim by energy, pad with
zeros at the end to a multiple of 1280 samples; then the peak normalisation that its data set applies.
"""

from __future__ import annotations

import io
import math
import wave as wave_module
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speech.audio.containers import locate, read_bytes
from speech.errors import AudioError, UserError
from speech.rates import SAMPLE_RATE
from speech.storage.files import atomic_path

SILENCE_PEAK = 1e-4  # half the peak-to-peak range below which a recording counts as silent: -80 dBFS
TRIM_FRAME, TRIM_HOP = 2048, 512

MIN_RATE, MAX_RATE, MAX_CHANNELS = 4000, 192000, 64
RIFF_SLACK_BYTES = 16  # writers disagree whether the size counts its own header and the padding byte
LOSSY_FORMATS = ("MP3", "OGG")  # their headers only estimate the length

Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Conditioning:
    """The conditions that recordings meet before models see them.

    Attributes:
        trim_db: leading and trailing frames this far below the loudest are cut (dB); None keeps them.
        normalise_peak: largest absolute sample afterwards.
        pad_multiple: zeros are appended to a multiple of this many samples.
        min_seconds: shortest accepted speech, after trimming.
        max_seconds: longest accepted recording, before trimming.
    """

    trim_db: float | None = 20.0
    normalise_peak: float = 0.95
    pad_multiple: int = 1280
    min_seconds: float = 0.05
    max_seconds: float = 600.0


@dataclass(frozen=True)
class Conditioned:
    """A recording ready for models.

    Attributes:
        wave: ``(T,) float32`` at 16 kHz, padded.
        num_speech: how many of its samples come before the padding.
        trim_start_seconds: what was cut off at the start.
    """

    wave: Wave
    num_speech: int
    trim_start_seconds: float


@dataclass(frozen=True)
class Header:
    """The facts of a file's header: sampling rate in Hz, channels, length in samples per channel."""

    rate: int
    channels: int
    num_samples: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.num_samples / self.rate


def read_header(path: Path | str) -> Header:
    """Read and check a recording's header without decoding it.

    Raises:
        AudioError: missing, empty, unreadable or cut short; sampling rate or channel count out of range.
    """
    import soundfile

    source = _source(path)
    try:
        info = soundfile.info(source)
    except (soundfile.LibsndfileError, ValueError) as error:
        raise AudioError(f"{path}: not a readable recording ({_one_line(error)})") from None
    header = Header(info.samplerate, info.channels, info.frames)
    if not MIN_RATE <= header.rate <= MAX_RATE:
        raise AudioError(f"{path}: sampling rate {header.rate} Hz is outside {MIN_RATE}..{MAX_RATE} Hz")
    if not 1 <= header.channels <= MAX_CHANNELS:
        raise AudioError(f"{path}: {header.channels} channels, at most {MAX_CHANNELS} are read")
    if header.num_samples <= 0:
        raise AudioError(f"{path}: holds no samples")
    return header


def read_wave(path: Path | str, max_seconds: float = math.inf) -> tuple[Wave, int]:
    """Decode a recording to one channel, the mean of all: ``(T,) float32`` and its sampling rate in Hz.

    ``path`` may also be an address inside a Parquet file (``speech.audio.containers``), which can name one channel.

    Decodes in this process; ``speech.audio.decode.IsolatedDecoder`` does the same where a crash must cost one file.

    Raises:
        AudioError: as ``read_header``; longer than ``max_seconds``; damaged or cut short.
    """
    import soundfile

    header, place = read_header(path), locate(path)
    channel = None if place is None else place.channel
    if channel is not None and channel >= header.channels:
        raise AudioError(f"{path}: has {header.channels} channels, so none numbered {channel}")
    if header.seconds > max_seconds:
        raise AudioError(f"{path}: lasts {header.seconds:.4g} s, longer than {max_seconds:g} s")
    try:
        with soundfile.SoundFile(_source(path)) as file:
            samples = file.read(dtype="float32", always_2d=True)
            lossless = file.format not in LOSSY_FORMATS
    except (soundfile.LibsndfileError, ValueError) as error:
        raise AudioError(f"{path}: damaged recording ({_one_line(error)})") from None
    if not len(samples) or (lossless and len(samples) < header.num_samples):
        raise AudioError(f"{path}: cut short: {len(samples)} of {header.num_samples} samples could be decoded")
    if channel is not None:
        return np.ascontiguousarray(samples[:, channel]), header.rate
    return samples.mean(axis=1, dtype=np.float32), header.rate


def condition(wave: Wave, rate: int, settings: Conditioning) -> Conditioned:
    """Resample to 16 kHz, trim silence, normalise the peak and pad a ``(T,) float32`` recording of ``rate`` Hz.

    Raises:
        AudioError: non-finite samples, silence, too short or too long; the caller adds the file's name.
    """
    if wave.ndim != 1:
        raise ValueError(f"expected one channel (T,), found shape {wave.shape}")
    if not np.isfinite(wave).all():
        raise AudioError("holds non-finite samples (NaN or infinity)")
    if len(wave) / rate > settings.max_seconds:
        raise AudioError(f"lasts {len(wave) / rate:.4g} s, longer than {settings.max_seconds:g} s")
    wave = resample(wave, rate)
    if not len(wave) or np.ptp(wave.astype(np.float64)) / 2 < SILENCE_PEAK:
        raise AudioError(f"is silent (no sample above {20 * math.log10(SILENCE_PEAK):.0f} dB of full scale)")
    start, end = (0, len(wave)) if settings.trim_db is None else trim_bounds(wave, settings.trim_db)
    speech = wave[start:end]
    if len(speech) < settings.min_seconds * SAMPLE_RATE:
        raise AudioError(f"has {len(speech) / SAMPLE_RATE:.3f} s of speech, shorter than {settings.min_seconds:g} s")
    peak = np.abs(speech).max()
    padded = np.pad(speech * np.float32(settings.normalise_peak / peak), (0, -len(speech) % settings.pad_multiple))
    return Conditioned(padded, len(speech), start / SAMPLE_RATE)


def resample(wave: Wave, rate: int, target: int = SAMPLE_RATE) -> Wave:
    """Resample ``(T,) float32`` from ``rate`` to ``target`` Hz with soxr's high-quality filter."""
    if rate == target:
        return wave
    import soxr

    return np.asarray(soxr.resample(wave, rate, target, quality="HQ"), np.float32)


def trim_bounds(wave: Wave, top_db: float) -> tuple[int, int]:
    """Return the first and last-plus-one sample of what is less than ``top_db`` below the loudest frame.

    Frames of 2048 samples centred every 512, zeros beyond the ends: the law of ``librosa.effects.trim``, in
    one pass over sums of 512 samples.
    """
    padded = np.pad(wave.astype(np.float64), (TRIM_FRAME // 2, TRIM_FRAME // 2))
    blocks = padded[: len(padded) // TRIM_HOP * TRIM_HOP].reshape(-1, TRIM_HOP)
    per_frame = TRIM_FRAME // TRIM_HOP
    energy = np.convolve((blocks**2).sum(axis=1), np.ones(per_frame), mode="valid") / TRIM_FRAME
    floor = 1e-10  # librosa's: (1e-5)^2, so that digital silence has a level
    level = 10 * np.log10(np.maximum(energy, floor) / max(energy.max(), floor))
    loud = np.flatnonzero(level > -top_db)
    return int(loud[0]) * TRIM_HOP, min(len(wave), (int(loud[-1]) + 1) * TRIM_HOP)


def encode_audio(wave: Wave, codec: Literal["flac", "wav"]) -> bytes:
    """Encode ``(T,) float32 in [-1, 1] at 16 kHz`` as 16-bit FLAC or WAV; both decode to the same samples."""
    pcm = quantise(wave)
    buffer = io.BytesIO()
    if codec == "wav":
        _write_pcm(buffer, pcm, SAMPLE_RATE)
    elif codec == "flac":
        import soundfile

        soundfile.write(buffer, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    else:
        raise UserError(f"audio codec '{codec}' is unknown; known are flac, wav")
    return buffer.getvalue()


def decode_audio(data: bytes) -> Wave:
    """Decode what ``encode_audio`` made: ``(T,) float32 in [-1, 1] at 16 kHz``. WAV needs no audio library.

    Raises:
        AudioError: the bytes are damaged, or neither 16-bit mono FLAC nor WAV at 16 kHz.
    """
    if data[:4] == b"RIFF":
        pcm, rate = _read_pcm(data)
    elif data[:4] == b"fLaC":
        import soundfile

        try:
            pcm, rate = soundfile.read(io.BytesIO(data), dtype="int16")
        except (soundfile.LibsndfileError, ValueError) as error:
            raise AudioError(f"stored audio is damaged FLAC ({_one_line(error)}); run the audio stage again") from None
    else:
        raise AudioError("stored audio is neither FLAC nor WAV; run the audio stage again")
    if rate != SAMPLE_RATE or pcm.ndim != 1:
        raise AudioError(f"stored audio must be mono at {SAMPLE_RATE} Hz, found shape {pcm.shape} at {rate} Hz")
    return pcm.astype(np.float32) / np.float32(32768)


def write_wave(path: Path | str, wave: Wave, rate: int = SAMPLE_RATE) -> None:
    """Write ``(T,) float32 in [-1, 1]`` as 16-bit audio, whole or not at all; the suffix chooses wav, flac, ogg or mp3.

    Raises:
        UserError: the suffix is none of these.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".wav", ".flac", ".ogg", ".mp3"):
        raise UserError(f"{path}: cannot write audio as '{suffix}'; use .wav, .flac, .ogg or .mp3")
    pcm = quantise(wave)
    with atomic_path(path) as temporary:
        if suffix == ".wav":
            with temporary.open("wb") as file:
                _write_pcm(file, pcm, rate)
        else:
            import soundfile

            soundfile.write(str(temporary), pcm, rate)


def quantise(wave: Wave) -> NDArray[np.int16]:
    """Round ``(T,) float32 in [-1, 1]`` to 16-bit steps; beyond full scale is clipped."""
    return np.clip(np.rint(wave * np.float32(32768)), -32768, 32767).astype(np.int16)


def _write_pcm(file: io.BytesIO | io.BufferedWriter, pcm: NDArray[np.int16], rate: int) -> None:
    with wave_module.open(file, "wb") as writer:
        writer.setparams((1, 2, rate, len(pcm), "NONE", ""))
        writer.writeframes(pcm.astype("<i2").tobytes())


def _read_pcm(data: bytes) -> tuple[NDArray[np.int16], int]:
    try:
        with wave_module.open(io.BytesIO(data)) as reader:
            promised, found = reader.getnframes(), reader.readframes(reader.getnframes())
            if (reader.getnchannels(), reader.getsampwidth()) != (1, 2) or len(found) != 2 * promised:
                raise AudioError("stored audio is not whole 16-bit mono WAV; run the audio stage again")
            return np.frombuffer(found, "<i2"), reader.getframerate()
    except (wave_module.Error, EOFError) as error:
        raise AudioError(f"stored audio is damaged WAV ({_one_line(error)}); run the audio stage again") from None


def _source(path: Path | str) -> str | io.BytesIO:
    """Return what libsndfile opens: the file, or the bytes of a recording inside a Parquet file."""
    place = locate(path)
    if place is not None:
        data = read_bytes(place)
        _check_riff_size(path, data[:8], len(data))
        return io.BytesIO(data)
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: file not found")
    size = path.stat().st_size
    if size == 0:
        raise AudioError(f"{path}: file is empty (0 bytes)")
    with path.open("rb") as file:
        _check_riff_size(path, file.read(8), size)
    return str(path)


def _check_riff_size(path: Path | str, start: bytes, found: int) -> None:
    """Refuse a WAV that was cut short: libsndfile quietly reads what is left of it, but its header knows better."""
    promised = int.from_bytes(start[4:], "little")
    streamed = promised in (0, 0xFFFFFFFF) or promised >= 0x7FFFF000
    if start[:4] == b"RIFF" and not streamed and promised > found + RIFF_SLACK_BYTES:
        raise AudioError(f"{path}: cut short: {found} of {promised + 8} bytes are there")


def _one_line(error: Exception) -> str:
    # libsndfile's own words, without the name of the file, which the message begins with.
    text = str(getattr(error, "error_string", error)).removeprefix("Error : ").removesuffix(".")
    return " ".join(text.split()) or type(error).__name__
