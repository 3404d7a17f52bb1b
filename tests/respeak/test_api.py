from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from respeak import System
from respeak.encoders import unit_encoder
from respeak.systems.resynthesis import piecewise
from respeak.voices import nearest_speaker
from speech.errors import AudioError, UserError
from tests.respeak.tiny import MODEL, SPEAKERS, UNITS, WITH_SOURCE, make_bundle

RATE = 16000


@pytest.fixture(scope="module")
def sentence(shared: Path) -> tuple[np.ndarray, int]:
    path = sorted((shared / "data/LibriSpeech/test-other").rglob("*.flac"))[0]
    wave, rate = soundfile.read(path, dtype="float32")
    return wave[: 3 * rate], rate


@pytest.fixture(scope="module")
def digit(shared: Path) -> tuple[np.ndarray, int]:
    return soundfile.read(shared / "data/free-spoken-digit-dataset/recordings/7_theo_0.wav", dtype="float32")


def noise(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    f0 = np.where(rng.random(4 * count) > 0.4, rng.normal(size=4 * count), 0)
    return rng.integers(0, UNITS, count).astype(np.uint16), f0.astype(np.float32)


def test_encode_keeps_the_rates(system: System, digit: tuple[np.ndarray, int]) -> None:
    wave, rate = digit
    encoded = system.encode(wave, rate)
    assert rate == 8000
    padded = -(-encoded.num_speech // 1280) * 1280
    assert (encoded.units.dtype, len(encoded.units)) == (np.uint16, padded // 320)
    assert (encoded.f0.dtype, len(encoded.f0)) == (np.float32, padded // 80)
    assert len(wave) * 2 - 4096 < encoded.num_speech <= len(wave) * 2 + 1


def test_encode_is_the_nearest_centroid_and_worlds_f0(system: System, sentence: tuple[np.ndarray, int]) -> None:
    """Against scikit-learn's assignment of the encoder's own frames, and pyworld called directly."""
    import pyworld
    from sklearn.metrics import pairwise_distances_argmin

    from respeak.encoders.loading import load_encoder

    conditioned, num_speech = system.condition(*sentence)
    encoded = system.encode_conditioned(conditioned, num_speech)
    frames = load_encoder(system.bundle.path / "encoder")(torch.from_numpy(conditioned)[None])[0].numpy()
    frames = frames.astype(np.float16).astype(np.float64)
    expected = pairwise_distances_argmin((frames - frames.mean(0)) / frames.std(0), system.bundle.centroids)
    assert np.mean(encoded.units == expected) > 0.99
    double = conditioned.astype(np.float64)
    coarse, times = pyworld.dio(double, RATE, f0_floor=60.0, f0_ceil=400.0, frame_period=5.0)
    track = pyworld.stonemask(double, coarse, times, RATE)[: len(encoded.f0)]
    both = (encoded.f0 > 0) & (track > 0)
    assert both.mean() > 0.2
    assert both.sum() > 0.95 * (encoded.f0 > 0).sum()
    assert np.mean(np.abs(encoded.f0[both] / track[both] - 1) < 1e-4) > 0.95


def test_known_speakers_frames_are_normalised_by_their_own_statistics(
    tmp_path: Path, sentence: tuple[np.ndarray, int]
) -> None:
    frames = {"theo": np.stack([np.full(39, 3.0), np.full(39, 7.0)]).astype(np.float32)}
    known = System.load(make_bundle(tmp_path / "known", frame_stats=frames), "cpu")
    alone = known.encode(*sentence)
    assert not np.array_equal(known.encode(*sentence, speaker="theo").units, alone.units)
    np.testing.assert_array_equal(known.encode(*sentence, speaker="jackson").units, alone.units)


@pytest.mark.parametrize("count", [1, 3, 250, 251])
def test_pieces_sound_like_the_whole(system: System, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    units, f0 = noise(count)
    whole = system.generate(units, f0, "theo")
    assert whole.shape == (count * 320,)
    assert whole.dtype == np.float32
    assert np.abs(whole).max() <= 1
    monkeypatch.setattr(piecewise, "GENERATE_SECONDS", 0.74)
    np.testing.assert_allclose(system.generate(units, f0, "theo"), whole, atol=2e-4)


def test_whole_generation_is_the_networks_own(system: System) -> None:
    units, f0 = noise(40)
    batch = torch.from_numpy(units.astype(np.int64))[None], torch.from_numpy(f0)[None, None], torch.tensor([2])
    with torch.no_grad():
        expected = system.bundle.generator()(*batch)[0, 0].numpy()
    np.testing.assert_allclose(system.generate(units, f0, "theo"), expected, atol=2e-4)
    assert np.abs(system.generate(units, f0, "jackson") - expected).max() > 0.05


def test_pieces_with_a_source_sound_like_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulses and noise go on where the piece before left them."""
    system = System.load(make_bundle(tmp_path / "source", model=WITH_SOURCE), "cpu")
    units, f0 = noise(251)
    whole = system.generate(units, f0, "theo")
    batch = torch.from_numpy(units.astype(np.int64))[None, :248], torch.from_numpy(f0)[None, None, :992]
    with torch.no_grad():
        expected = system.bundle.generator()(*batch, torch.tensor([2]))[0, 0].numpy()
    assert np.abs(system.generate(units[:248], f0[:992], "theo") - expected).mean() < 1e-4
    monkeypatch.setattr(piecewise, "GENERATE_SECONDS", 0.74)
    # Where a pulse falls between two samples, rounding decides in the third place.
    difference = np.abs(system.generate(units, f0, "theo") - whole)
    assert difference.mean() < 1e-4
    assert difference.max() < 2e-2


@pytest.mark.parametrize("model", [MODEL, WITH_SOURCE, {**WITH_SOURCE, "speaker_dim": 256}])
def test_many_together_are_what_each_is_alone(tmp_path: Path, model: dict[str, Any]) -> None:
    vectors = {name: np.eye(256, dtype=np.float32)[row] for row, name in enumerate(SPEAKERS)}
    system = System.load(make_bundle(tmp_path / "many", model=model, vectors=vectors), "cpu")
    lengths, names = (8, 12, 8, 5, 8, 12, 5), list(SPEAKERS)
    requests = [piecewise.Request(*_cut(length, n), system.voice(names[n % 3])) for n, length in enumerate(lengths)]
    seen: list[int] = []
    hook = system.vocoding.model.vocoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    together = system.generate_many(requests)
    hook.remove()
    assert sorted(seen) == [1, 1, 2, 3]  # off the grid of F0 tokens nothing is batched
    for request, wave in zip(requests, together, strict=True):
        np.testing.assert_allclose(wave, system.generate(request.units, request.f0, request.voice), atol=2e-4)


def _cut(length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    units, f0 = noise(length + seed)
    return units[seed:], f0[4 * seed :]


def test_memory_does_not_grow_with_the_recording(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piecewise, "GENERATE_SECONDS", 0.5)
    seen: list[int] = []
    hook = system.vocoding.model.vocoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2]))
    system.generate(*noise(300), "theo")
    hook.remove()
    assert len(seen) == 12
    assert max(seen) <= 25 + 2 * 12


def test_long_recordings_are_analysed_in_pieces(
    system: System, sentence: tuple[np.ndarray, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    conditioned, num_speech = system.condition(*sentence)
    whole = system.encode_conditioned(conditioned, num_speech)
    monkeypatch.setattr(unit_encoder, "ANALYSE_SECONDS", 0.8)
    pieces = system.encode_conditioned(conditioned, num_speech)
    np.testing.assert_array_equal(pieces.units, whole.units)
    assert len(pieces.f0) == len(whole.f0)
    # DIO's track depends a little on where its buffer starts, and a piece has its own loudest frame.
    assert np.mean((pieces.f0 > 0) == (whole.f0 > 0)) > 0.95
    both = (pieces.f0 > 0) & (whole.f0 > 0)
    assert np.median(np.abs(pieces.f0[both] / whole.f0[both] - 1)) < 1e-3


def test_output_is_as_long_as_the_speech(system: System, sentence: tuple[np.ndarray, int]) -> None:
    _, num_speech = system.condition(*sentence)
    own = system.resynthesize(*sentence, speaker="theo")
    converted = system.convert(*sentence, target="nicolas")
    assert len(own) == len(converted) == num_speech
    assert np.isfinite(own).all()
    assert np.abs(own - converted).max() > 0.05
    np.testing.assert_array_equal(converted, system.convert(*sentence, target="nicolas"))


def test_f0_is_scored_by_whoever_speaks(system: System) -> None:
    f0 = np.array([0, 90, 110, 100, 0], dtype=np.float32)
    np.testing.assert_allclose(system.normalise_f0(f0, "theo"), [0, -1.75, -0.75, -1.25, 0], rtol=1e-5)
    alone = system.normalise_f0(f0)
    voiced = alone[f0 > 0]
    np.testing.assert_allclose([voiced.mean(), voiced.std()], [0, 1], atol=1e-5)
    np.testing.assert_array_equal(system.normalise_f0(f0, "a stranger"), alone)
    assert not system.normalise_f0(np.zeros(8, np.float32)).any()


def test_unknown_voice_lists_the_known(system: System, digit: tuple[np.ndarray, int]) -> None:
    assert system.speakers == list(SPEAKERS)
    for call in (
        lambda: system.convert(*digit, target="anna"),
        lambda: system.convert(*digit, target="theo", source="anna"),
        lambda: system.resynthesize(*digit, speaker="anna"),
        lambda: system.generate(*noise(4), speaker="anna"),
    ):
        with pytest.raises(UserError, match=r"'anna' is not in .*; it has jackson, nicolas, theo"):
            call()


def test_resynthesis_without_a_speaker_needs_vectors(system: System, digit: tuple[np.ndarray, int]) -> None:
    with pytest.raises(UserError, match=r"no d-vectors.*--speaker"):
        system.resynthesize(*digit)


def test_nearest_speaker_is_found_by_voice(tmp_path: Path, shared: Path) -> None:
    from speech.dvectors import embed

    def joined(speaker: str, take: int) -> np.ndarray:
        folder = shared / "data/free-spoken-digit-dataset/recordings"
        waves = [soundfile.read(folder / f"{digit}_{speaker}_{take}.wav", dtype="float32")[0] for digit in range(4)]
        return np.repeat(np.concatenate(waves), 2)

    vectors = {name: embed(joined(name, 10)) for name in SPEAKERS}
    known = System.load(make_bundle(tmp_path / "known", vectors=vectors), "cpu")
    assert [
        nearest_speaker(known.path, known.speakers, known.bundle.vectors, joined(name, 0)) for name in SPEAKERS
    ] == list(SPEAKERS)


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(RATE, np.float32), "silent"),
        (np.zeros(0, np.float32), "silent|empty"),
        (np.full(RATE, np.nan, np.float32), "non-finite"),
        (np.sin(np.arange(200, dtype=np.float32)), "shorter"),
    ],
)
def test_unusable_audio_is_refused(system: System, wave: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        system.convert(wave, RATE, target="theo")


def test_units_and_f0_of_another_system_are_refused(system: System) -> None:
    units, f0 = noise(4)
    with pytest.raises(UserError, match="each from 0 to 11"):
        system.generate(units + UNITS, f0, "theo")
    with pytest.raises(UserError, match="at least one"):
        system.generate(units[:0], f0[:0], "theo")
    with pytest.raises(UserError, match="15 frames for 4 units, expected 16"):
        system.generate(units, f0[:-1], "theo")


def test_unknown_device(bundle_dir: Path) -> None:
    with pytest.raises(UserError, match="device 'tpu'"):
        System.load(bundle_dir, "tpu")
