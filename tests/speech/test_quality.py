"""Quality against a reference: planted damage moves each measure as far as theory or its own package says."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import numpy as np
import pesq as pesq_package
import pystoi
import pytest
import soundfile
from scipy.signal import lfilter

from respeak.judges.quality_judges import quality_judges
from respeak.results.columns import MEASURED
from speech.audio.waveforms import encode_audio, resample
from speech.errors import UserError
from speech.judges.cache import Recording
from speech.judges.dnsmos import windows
from speech.judges.settings import ASR, Evaluate, Phonemes
from speech.metrics.alignment import shift
from speech.metrics.cepstra import cepstra_of, mel_cepstra, warping
from speech.metrics.quality import DB, mel_cepstral_distortion, pesq, stoi
from speech.metrics.summary import UTTERANCES


@pytest.fixture(scope="module")
def sentence(shared: Path) -> np.ndarray:
    path = next((shared / "data/LJSpeech-1.1/wavs").glob("LJ001-0002.*"))
    return 0.5 * resample(*soundfile.read(path, dtype="float32"))


def noisy(wave: np.ndarray, snr_db: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(len(wave))
    return (wave + noise * np.sqrt(np.mean(wave**2)) * 10 ** (-snr_db / 20)).astype(np.float32)


def test_stoi_and_pesq_are_their_packages(sentence: np.ndarray) -> None:
    for snr in (20, 5, -5):
        output = noisy(sentence, snr)
        assert stoi(sentence, output) == pytest.approx(pystoi.stoi(sentence, output, 16_000), abs=1e-6)
        assert pesq(sentence, output) == pytest.approx(pesq_package.pesq(16_000, sentence, output, "wb"), abs=1e-4)


def test_noise_lowers_both_and_a_delay_or_a_cut_end_changes_little(sentence: np.ndarray) -> None:
    for measure in (stoi, pesq):
        scores = [measure(sentence, noisy(sentence, snr)) for snr in (40, 15, 0)]
        assert scores[0] > scores[1] > scores[2]
        late = shift(sentence, -12, len(sentence) + 900)
        assert measure(sentence, late) == pytest.approx(measure(sentence, sentence), abs=0.01)
        assert measure(sentence, sentence[:-400]) == pytest.approx(measure(sentence, sentence), rel=0.05)


def test_what_is_too_short_or_silent_has_no_score(sentence: np.ndarray) -> None:
    short, silent = sentence[8000:11200], np.zeros(16_000, np.float32)
    assert stoi(short, short) is None
    assert pesq(short, short) is None
    assert pesq(silent, silent) is None
    assert mel_cepstral_distortion(silent, sentence) is None
    assert mel_cepstral_distortion(sentence, silent) is None


def test_distortion_of_a_filter_is_its_own_cepstrum(sentence: np.ndarray) -> None:
    """1 - a / z, warped by alpha, is a zero at (a - alpha) / (1 - a alpha) and a pole at -alpha."""
    a, alpha = 0.5, 0.42
    k = np.arange(1, 25)
    cepstrum = (-(((a - alpha) / (1 - a * alpha)) ** k) - ((-1.0) ** (k + 1)) * alpha**k) / k
    expected = DB * np.linalg.norm(cepstrum)
    measured = mel_cepstral_distortion(sentence, lfilter([1, -a], [1], sentence).astype(np.float32))
    assert measured == pytest.approx(expected, rel=0.05)
    assert mel_cepstral_distortion(sentence, 0.2 * sentence) == pytest.approx(0, abs=0.02)


def test_distortion_does_not_mind_another_timing(sentence: np.ndarray) -> None:
    paused = np.insert(sentence, np.full(4000, 12_000), 0.0)
    assert (
        mel_cepstral_distortion(sentence, paused) < 2.5 < 4 < mel_cepstral_distortion(sentence, sentence[::-1].copy())
    )


def test_warped_cepstra_give_back_the_envelope_on_the_warped_axis() -> None:
    rng = np.random.default_rng(0)
    frequencies = np.linspace(0, np.pi, 513)
    smooth = sum(rng.normal() / k**2 * np.cos(k * frequencies) for k in range(1, 12))
    for alpha in (0.0, 0.42):
        cepstra = cepstra_of(np.exp(2 * smooth)[None], 120, alpha)[0]
        warped = frequencies + 2 * np.arctan(alpha * np.sin(frequencies) / (1 - alpha * np.cos(frequencies)))
        again = np.cos(np.outer(warped, np.arange(121))) @ cepstra
        np.testing.assert_allclose(again, smooth, atol=1e-4)
    np.testing.assert_allclose(warping(30, 10, 0.0), np.eye(30, 11))


def test_cepstra_have_the_frames_of_f0(sentence: np.ndarray) -> None:
    assert mel_cepstra(sentence[:16_079]).shape == (200, 25)


def evaluate(*quality: str, **weights: str) -> Evaluate:
    return Evaluate(
        ASR("pocketsphinx", "open"), Phonemes("none"), {}, list(quality), weights, "resemblyzer", 4.0, 0.2, "lag", 100
    )  # type: ignore[arg-type]


def test_judges_by_name(sentence: np.ndarray) -> None:
    reference = Recording(encode_audio(sentence, "wav"), "reference")
    output = Recording(encode_audio(noisy(sentence, 10), "wav"), "output")
    judges = quality_judges(evaluate("mcd", "stoi", "mcd"))
    assert [judge.settings["judge"] for judge in judges] == ["mcd", "stoi"]
    answers = [judge(output, reference) for judge in judges]
    assert answers[0]["mcd"] > 3
    assert answers[1]["stoi"] == stoi(reference.wave, output.wave)


def test_squim_is_torchaudios(tmp_path: Path, sentence: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torchaudio.models import squim_objective_base

    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path))
    name = "squim_objective_dns2020.pth"
    with pytest.raises(UserError, match=rf"evaluate.weights.squim: {tmp_path}/{name}: not found; get https://.*{name}"):
        quality_judges(evaluate("squim"))
    torch.manual_seed(0)
    model = squim_objective_base().eval()
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    heard = Recording(encode_audio(sentence[:16_000], "wav"), "x")
    (judge,) = quality_judges(evaluate("squim", squim=str(tmp_path / "mine.pth")))
    with torch.no_grad():
        expected = [float(score) for score in model(torch.from_numpy(heard.wave)[None])]
    assert list(judge(heard).values()) == pytest.approx(expected, rel=1e-5)
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(UserError, match=f"{name}: not the weights"):
        quality_judges(evaluate("squim"))[0](heard)


# Written with the package onnx 1.23: of waves (B, 144160) the mean, the largest and the smallest sample, (B, 3).
NETWORK = (
    "CAc6gAIKNgoHaW5wdXRfMRIBbSIKUmVkdWNlTWVhbioLCgRheGVzQAGgAQcqDwoIa2VlcGRpbXMYAaABAgo1CgdpbnB1dF8xEgF4IglSZWR1Y2VN"
    "YXgqCwoEYXhlc0ABoAEHKg8KCGtlZXBkaW1zGAGgAQIKNQoHaW5wdXRfMRIBbiIJUmVkdWNlTWluKgsKBGF4ZXNAAaABByoPCghrZWVwZGltcxgB"
    "oAECCiEKAW0KAXgKAW4SAXkiBkNvbmNhdCoLCgRheGlzGAGgAQISAWdaHAoHaW5wdXRfMRIRCg8IARILCgMSAWIKBAig5ghiFAoBeRIPCg0IARIJ"
    "CgMSAWIKAggDQgQKABAL"
)


def test_dnsmos_hears_windows_and_answers_on_the_listeners_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"evaluate\.weights\.dnsmos: .*/sig_bak_ovr\.onnx: not found; get https://"):
        quality_judges(evaluate("dnsmos"))
    (tmp_path / "sig_bak_ovr.onnx").write_bytes(b64decode(NETWORK))
    (judge,) = quality_judges(evaluate("dnsmos"))
    wave = (np.arange(12 * 16_000 + 5) / 2**18).astype(np.float32)
    # 12 s are three windows of 9.01 s; of a ramp, mean, top and bottom rise by a second from each to the next.
    starts = np.arange(3) * 16_000
    raw = np.stack([starts + (144_160 - 1) / 2, starts + 144_160 - 1, starts]) / 2**18
    expected = {
        "dnsmos_signal": np.mean(-0.08397278 * raw[0] ** 2 + 1.22083953 * raw[0] + 0.0052439),
        "dnsmos_background": np.mean(-0.13166888 * raw[1] ** 2 + 1.60915514 * raw[1] - 0.39604546),
        "dnsmos": np.mean(-0.06766283 * raw[2] ** 2 + 1.11546468 * raw[2] + 0.04602535),
    }
    heard = Recording(encode_audio(wave, "wav"), "x")
    assert judge(heard) == pytest.approx(expected, abs=1e-4)
    assert set(expected) < set(UTTERANCES.names) and {column.name for column in MEASURED} > set(expected)


@pytest.mark.parametrize(("samples", "count"), [(1, 7), (16_000, 7), (80_000, 1), (144_160, 1), (176_000, 2)])
def test_short_recordings_are_doubled_to_a_window(samples: int, count: int) -> None:
    """Counts are those of Microsoft's script: whole seconds of the doubled recording less 9.01, and one."""
    wave = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    found = list(windows(wave))
    assert [len(window) for window in found] == [144_160] * count
    np.testing.assert_array_equal(found[-1], np.tile(wave, 1 + 304_160 // samples)[(count - 1) * 16_000 :][:144_160])


def test_a_damaged_or_other_network_is_named(tmp_path: Path) -> None:
    heard = Recording(encode_audio(np.ones(1600, np.float32) / 2, "wav"), "x")
    # The last layer joins two of the three outputs.
    other = b64decode(NETWORK).replace(b"\n\x21\n\x01m\n\x01x\n\x01n", b"\n\x1e\n\x01m\n\x01x")
    assert len(other) < len(b64decode(NETWORK))
    for name, content in (("damaged", b"something else"), ("other", other)):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{name}.onnx: not the weights"):
            quality_judges(evaluate("dnsmos", dnsmos=str(path)))[0](heard)


def test_weights_of_no_judge_are_refused() -> None:
    with pytest.raises(ValueError, match="weights: mos is no judge of quality or of speakers"):
        evaluate("stoi", mos="x")
