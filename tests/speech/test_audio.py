"""Recordings in and out, against librosa, the original preprocessing and every bad file that a corpus may hold."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import wave as wave_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech.audio.decode import IsolatedDecoder
from speech.audio.waveforms import (
    Conditioning,
    condition,
    decode_audio,
    encode_audio,
    read_header,
    read_wave,
    trim_bounds,
    write_wave,
)
from speech.errors import AudioError, UserError
from speech.rates import SAMPLE_RATE

SETTINGS = Conditioning(trim_db=None, min_seconds=0.05, max_seconds=20.0)


def tone(seconds: float = 0.5, rate: int = SAMPLE_RATE, hz: float = 220.0, peak: float = 0.3) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def saved(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, subtype: str | None = None) -> Path:
    soundfile.write(str(path), samples, rate, subtype=subtype)
    return path


@given(
    length=st.integers(1, 9000),
    quiet=st.integers(0, 6000),
    seed=st.integers(0, 99),
    top_db=st.sampled_from([10.0, 20.0, 40.0]),
)
@settings(max_examples=25, deadline=None)
def test_trim_is_librosas(length: int, quiet: int, seed: int, top_db: float) -> None:
    import librosa

    rng = np.random.default_rng(seed)
    wave = np.concatenate([rng.normal(0, 1e-3, quiet), rng.normal(0, 0.2, length), rng.normal(0, 3e-3, quiet // 2)])
    wave = wave.astype(np.float32)
    _, expected = librosa.effects.trim(wave, top_db=top_db)
    assert trim_bounds(wave, top_db) == tuple(expected)


@pytest.mark.parametrize("name", ["LJSpeech-1.1", "speech_commands_v0.01", "free-spoken-digit-dataset"])
def test_trim_is_librosas_on_real_recordings(shared: Path, name: str) -> None:
    import librosa

    for path in sorted((shared / "data" / name).rglob("*.wav"))[:200:40]:
        wave, _ = read_wave(path)
        assert trim_bounds(wave, 20.0) == tuple(librosa.effects.trim(wave, top_db=20)[1]), path


def test_padding_adds_nothing_when_aligned_and_zeros_otherwise() -> None:
    aligned = condition(tone()[:2560], SAMPLE_RATE, SETTINGS)
    assert len(aligned.wave) == aligned.num_speech == 2560
    longer = condition(tone()[:2561], SAMPLE_RATE, SETTINGS)
    assert (len(longer.wave), longer.num_speech) == (3840, 2561)
    assert not longer.wave[2561:].any()
    assert np.abs(longer.wave).max() == pytest.approx(0.95)
    assert longer.wave.dtype == np.float32


def test_trim_reports_what_it_cut_at_the_start() -> None:
    wave = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), tone(1.0)])
    made = condition(wave, SAMPLE_RATE, Conditioning(trim_db=20.0))
    assert made.trim_start_seconds == pytest.approx(1.0, abs=0.07)
    assert made.num_speech == pytest.approx(SAMPLE_RATE, abs=1024)


@pytest.mark.parametrize(
    ("wave", "reason"),
    [
        (np.zeros(16000, np.float32), "silent"),
        (np.full(16000, 0.5, np.float32), "silent"),
        (np.array([0.5], np.float32), "silent"),
        (np.zeros(0, np.float32), "silent"),
        (np.append(tone(), np.float32("nan")), "non-finite"),
        (np.append(tone(), np.float32("inf")), "non-finite"),
        (tone(0.02), "shorter"),
        (tone(21.0), "longer"),
    ],
    ids=["zeros", "constant", "one sample", "empty", "nan", "inf", "short", "long"],
)
def test_unusable_audio_is_refused_with_its_reason(wave: np.ndarray, reason: str) -> None:
    with pytest.raises(AudioError, match=reason) as error:
        condition(wave, SAMPLE_RATE, SETTINGS)
    assert "\n" not in str(error.value)


def test_both_codecs_decode_to_the_same_bits() -> None:
    wave = np.clip(np.random.default_rng(0).normal(0, 0.4, 4001), -1, 1).astype(np.float32)
    flac, wav = (decode_audio(encode_audio(wave, codec)) for codec in ("flac", "wav"))
    assert flac.dtype == wav.dtype == np.float32
    assert np.array_equal(flac, wav)
    assert np.abs(flac - wave).max() <= 1 / 32768
    assert np.array_equal(decode_audio(encode_audio(flac, "flac")), flac)
    assert np.array_equal(soundfile.read(io.BytesIO(encode_audio(wave, "wav")), dtype="float32")[0], wav)
    with pytest.raises(UserError, match="mp3"):
        encode_audio(wave, "mp3")  # type: ignore[arg-type]


def test_wav_shards_decode_without_soundfile() -> None:
    code = (
        "import sys; sys.modules['soundfile'] = None\n"
        "from speech.audio.waveforms import decode_audio, encode_audio\n"
        "import numpy as np\n"
        "print(len(decode_audio(encode_audio(np.zeros(77, np.float32), 'wav'))))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "77"


@pytest.mark.parametrize("codec", ["flac", "wav"])
def test_damaged_shard_audio_is_an_audio_error(codec: str) -> None:
    data = encode_audio(tone(), codec)  # type: ignore[arg-type]
    for damaged in (data[: len(data) // 2], data[:20], b"", b"noise" + data, data[:4] + bytes(60)):
        with pytest.raises(AudioError):
            decode_audio(damaged)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_written_waves_read_back(tmp_path: Path, suffix: str) -> None:
    wave = tone(0.7)
    write_wave(tmp_path / f"a{suffix}", wave)
    back, rate = read_wave(tmp_path / f"a{suffix}")
    assert rate == SAMPLE_RATE
    assert len(back) == pytest.approx(len(wave), abs=2304)
    if suffix in (".wav", ".flac"):
        assert np.abs(back - wave).max() <= 1 / 32768
    with pytest.raises(UserError, match=r"\.txt"):
        write_wave(tmp_path / "a.txt", wave)


def test_channels_are_averaged_and_high_rates_resampled(tmp_path: Path) -> None:
    left, right = tone(hz=200), tone(hz=300)
    wave, _ = read_wave(saved(tmp_path / "stereo.wav", np.stack([left, right], 1), subtype="FLOAT"))
    assert np.allclose(wave, (left + right) / 2, atol=1e-6)
    wave, _ = read_wave(saved(tmp_path / "eight.wav", np.stack([left] * 8, 1), subtype="FLOAT"))
    assert np.allclose(wave, left, atol=1e-6)
    wave, rate = read_wave(saved(tmp_path / "studio.flac", tone(0.5, 96000), 96000))
    made = condition(wave, rate, SETTINGS)
    assert (rate, made.num_speech) == (96000, 8000)
    spectrum = np.abs(np.fft.rfft(made.wave[:8000]))
    assert spectrum.argmax() * 2 == 220


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Every bad file with a word of its reason."""
    whole = saved(folder / "whole.flac", tone(2.0)).read_bytes()
    wav = saved(folder / "whole.wav", tone(2.0)).read_bytes()
    made = {
        "empty.wav": (b"", "0 bytes"),
        "text.wav": (b"this is no audio file", "not a readable"),
        "cut.flac": (whole[: len(whole) // 2], "damaged|cut short"),
        "cut.wav": (wav[: len(wav) // 2], "cut short"),
        "header.wav": (wav[:30], "cut short|not a readable"),
        "no_samples.wav": (encode_audio(np.zeros(0, np.float32), "wav"), "no samples"),
    }
    for name, (data, _) in made.items():
        (folder / name).write_bytes(data)
    files = {name: (folder / name, reason) for name, (_, reason) in made.items()}
    files["missing.wav"] = (folder / "missing.wav", "not found")
    files["slow.wav"] = (saved(folder / "slow.wav", tone(1.0), 2000), "sampling rate")
    files["many.wav"] = (saved(folder / "many.wav", np.zeros((10, 65), np.float32)), "channels")
    return files


def test_bad_files_are_refused_by_name_and_reason(tmp_path: Path) -> None:
    with IsolatedDecoder() as decoder:
        for path, reason in bad_files(tmp_path).values():
            for read in (read_wave, decoder.read):
                with pytest.raises(AudioError, match=reason) as error:
                    read(path)
                assert str(error.value).startswith(f"{path}: ")
                assert "\n" not in str(error.value)


def test_too_long_is_known_from_the_header(tmp_path: Path) -> None:
    path = saved(tmp_path / "long.flac", tone(3.0))
    assert read_header(path).seconds == pytest.approx(3.0)
    with pytest.raises(AudioError, match="longer than 2 s"):
        read_wave(path, max_seconds=2.0)


def test_isolated_decoding_gives_the_same_samples(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.flac", np.stack([tone(), tone(hz=300)], 1))
    with IsolatedDecoder() as decoder:
        assert decoder.header(path) == read_header(path)
        assert np.array_equal(decoder.read(path)[0], read_wave(path)[0])


def test_a_crash_costs_one_file_and_a_hang_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.wav", tone())
    with IsolatedDecoder() as decoder:
        first = decoder.pid
        os.kill(first, signal.SIGSEGV)
        with pytest.raises(AudioError, match="signal 11"):
            decoder.read(path)
        assert decoder.read(path)[1] == SAMPLE_RATE
        assert decoder.pid != first
    with IsolatedDecoder(timeout_seconds=5.0) as decoder:
        decoder.read(path)
        os.kill(decoder.pid, signal.SIGSTOP)
        decoder._child._timeout = 0.2
        with pytest.raises(AudioError, match="no answer"):
            decoder.read(path)
        decoder._child._timeout = 5.0
        assert decoder.read(path)[1] == SAMPLE_RATE


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("originals")
    made = {}
    for name, subtype in (("pcm.wav", "PCM_16"), ("float.wav", "FLOAT"), ("a.flac", "PCM_16"), ("a.ogg", None)):
        made[name] = saved(folder / name, np.stack([tone(0.2)] * 2, 1), subtype=subtype).read_bytes()
    return made


@given(name=st.sampled_from(["pcm.wav", "float.wav", "a.flac", "a.ogg"]), data=st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_give_finite_audio_or_an_audio_error(
    originals: dict[str, bytes], tmp_path: Path, name: str, data: st.DataObject
) -> None:
    content = bytearray(originals[name][: data.draw(st.integers(0, len(originals[name])))])
    if content and data.draw(st.booleans()):
        for position in data.draw(st.lists(st.integers(0, min(len(content), 200) - 1), max_size=3)):
            content[position] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(bytes(content))
    try:
        wave, rate = read_wave(path, max_seconds=20.0)
        made = condition(wave, rate, SETTINGS)
    except AudioError:
        return
    assert made.wave.dtype == np.float32
    assert made.wave.ndim == 1
    assert np.isfinite(made.wave).all()


@given(content=st.binary(max_size=300), codec=st.sampled_from([b"RIFF", b"fLaC", b""]))
@settings(max_examples=60, deadline=None)
def test_any_bytes_decode_or_are_an_audio_error(content: bytes, codec: bytes) -> None:
    try:
        wave = decode_audio(codec + content)
    except AudioError:
        return
    assert wave.ndim == 1


def test_stored_wav_of_another_rate_is_refused() -> None:
    buffer = io.BytesIO()
    with wave_module.open(buffer, "wb") as writer:
        writer.setparams((1, 2, 8000, 4, "NONE", ""))
        writer.writeframes(bytes(8))
    with pytest.raises(AudioError, match="16000"):
        decode_audio(buffer.getvalue())
