"""Whose voice, and which melody: voices by name and by recording, intonation, melodies of other recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from respeak import System
from respeak.voices import Voice
from speech.dvectors import embed
from speech.errors import AudioError, UserError
from speech.intonation import FLAT, Intonation
from speech.pitch import Normalisation, denormalise_f0, normalise_f0, voiced_statistics
from tests.respeak.tiny import MODEL, SPEAKERS, WITH_SOURCE, f0_stats, make_bundle

Recording = tuple[np.ndarray, int]


def recording(shared: Path, speaker: str, take: int = 0) -> Recording:
    folder = shared / "data/free-spoken-digit-dataset/recordings"
    parts = [soundfile.read(folder / f"{digit}_{speaker}_{take}.wav", dtype="float32")[0] for digit in (1, 7, 9)]
    return np.concatenate(parts), 8000


@pytest.fixture(scope="module")
def theo(shared: Path) -> Recording:
    return recording(shared, "theo")


@pytest.fixture(scope="module")
def by_vector(tmp_path_factory: pytest.TempPathFactory) -> System:
    """A system that knows voices by d-vectors, pulses at their F0."""
    directory = tmp_path_factory.mktemp("vectors") / "system"
    vectors = {name: np.eye(256, dtype=np.float32)[row] for row, name in enumerate(SPEAKERS)}
    return System.load(make_bundle(directory, model={**WITH_SOURCE, "speaker_dim": 256}, vectors=vectors), "cpu")


def test_a_voice_can_be_a_recordings(by_vector: System, shared: Path, theo: Recording) -> None:
    stranger = by_vector.voice_of(*recording(shared, "yweweler"), "him")
    conditioned, num_speech = by_vector.condition(*recording(shared, "yweweler"))
    assert stranger.row is None and stranger.vector is not None
    np.testing.assert_allclose(stranger.vector, embed(conditioned[:num_speech]))
    assert 60 < stranger.stats["hz"]["mean"] < 400
    waves = [by_vector.convert(*theo, target=target) for target in (stranger, "nicolas")]
    assert len(waves[0]) == len(waves[1])
    assert np.abs(waves[0] - waves[1]).max() > 0.05


def test_the_register_of_a_vectors_voice_places_the_pulses(by_vector: System) -> None:
    vector, f0 = np.eye(256, dtype=np.float32)[0], np.zeros(160, np.float32)
    low, high = (by_vector.generate(np.zeros(40, int), f0, Voice("x", f0_stats(hz), None, vector)) for hz in (90, 180))
    assert np.abs(low - high).max() > 0.02


def test_a_recording_without_a_speaker_is_said_in_its_own_voice(by_vector: System, theo: Recording) -> None:
    own = by_vector.resynthesize(*theo)
    np.testing.assert_array_equal(own, by_vector.resynthesize(*theo))
    assert np.abs(own - by_vector.resynthesize(*theo, speaker="theo")).max() > 0.01
    with pytest.raises(AudioError, match="no voiced speech"):
        hiss = np.random.default_rng(0).normal(scale=0.1, size=8000).astype(np.float32)
        by_vector.voice_of(hiss, 16000)


def test_a_table_of_speakers_has_no_other_voice(system: System, theo: Recording) -> None:
    with pytest.raises(UserError, match=r"table of its own speakers \(jackson, nicolas, theo\): name one"):
        system.voice_of(*theo)
    with pytest.raises(UserError, match="'anna' is not among the system's speakers"):
        system.convert(*theo, target=Voice("anna", f0_stats(200), None, np.zeros(256, np.float32)))


def test_a_bundle_of_vectors_has_one_for_every_speaker(tmp_path: Path) -> None:
    vectors = {"theo": np.eye(256, dtype=np.float32)[0]}
    with pytest.raises(UserError, match="jackson, nicolas has none"):
        make_bundle(tmp_path / "system", model={**MODEL, "speaker_dim": 256}, vectors=vectors)


def test_a_flat_melody_is_said_with_tokens_of_voiced_speech(system: System) -> None:
    low, high = system.vocoding.unvoiced_band
    assert low < 0 < high
    quantizer = system.vocoding.model.quantizer
    assert quantizer is not None
    voiced = np.ones(320, bool)
    rng = np.random.default_rng(0)
    flat = system.intone(rng.normal(size=320).astype(np.float32), voiced, system.voice("theo"), FLAT)
    assert len(set(flat.tolist())) == 1
    with torch.no_grad():
        silent, inside, said = (
            quantizer.encode(torch.full((1, 1, 320), level))[0, 8] for level in (0.0, high - 0.03, float(flat[0]))
        )
    assert silent == inside != said


def test_pitch_and_melody_change_what_is_heard_but_not_its_length(
    system: System, shared: Path, theo: Recording
) -> None:
    plain = system.convert(*theo, target="nicolas")
    melody = system.melody_of(*recording(shared, "jackson", 1))
    changed = [
        system.convert(*theo, target="nicolas", intonation=Intonation(semitones=7)),
        system.convert(*theo, target="nicolas", intonation=FLAT),
        system.convert(*theo, target="nicolas", melody=melody),
    ]
    for wave in changed:
        assert len(wave) == len(plain)
        assert np.abs(wave - plain).max() > 0.02


@pytest.mark.parametrize("speaker_dim", [0, 256])
def test_a_source_goes_where_tokens_do_not_reach(tmp_path: Path, theo: Recording, speaker_dim: int) -> None:
    """An octave is an octave, whatever deviation the voice has."""
    vectors = {name: np.eye(256, dtype=np.float32)[row] for row, name in enumerate(SPEAKERS)}
    model = {**WITH_SOURCE, "speaker_dim": speaker_dim}
    system = System.load(make_bundle(tmp_path / "source", model=model, vectors=vectors), "cpu")
    contours: list[torch.Tensor] = []
    network = system.vocoding.model
    spoken = network.contour
    network.contour = lambda *args: contours.append(spoken(*args)) or contours[-1]  # type: ignore[method-assign]
    waves = [
        system.convert(*theo, target="nicolas", intonation=change)
        for change in (Intonation(), Intonation(12), Intonation(-3), Intonation(span=2.5))
    ]
    plain, octave, third, wide = contours
    mean, inside = SPEAKERS["nicolas"], (wide > 50) & (wide < 600)  # the range of a source
    torch.testing.assert_close(octave, 2 * plain)
    torch.testing.assert_close(third, plain * 2**-0.25)
    torch.testing.assert_close((wide - mean)[inside], (2.5 * (plain - mean))[inside], atol=1e-3, rtol=1e-4)
    assert plain.std() > 1 and inside.float().mean() > 0.5
    assert all(np.abs(wave - waves[0]).max() > 0.01 for wave in waves[1:])


@pytest.mark.parametrize("mode", ["hz", "log"])
def test_a_voice_that_is_moved_says_every_score_higher(mode: Normalisation) -> None:
    hertz = np.array([80.0, 150.0, 0.0, 210.0], np.float32)
    voice = Voice("x", voiced_statistics(hertz))
    scores = normalise_f0(hertz, voice.stats, mode)
    higher = denormalise_f0(scores, voice.moved(5, 1.0).stats, mode, hertz > 0)
    np.testing.assert_allclose(higher, hertz * 2 ** (5 / 12), rtol=1e-5)
    mean = voice.stats[mode]["mean"]
    wider = denormalise_f0(scores, voice.moved(0, 1.5).stats, mode, hertz > 0)
    scale = np.log if mode == "log" else np.asarray
    voiced = hertz > 0
    np.testing.assert_allclose(scale(wider[voiced]) - mean, 1.5 * (scale(hertz[voiced]) - mean), rtol=1e-4)


def test_a_system_without_f0_has_no_melody_to_change(tmp_path: Path, theo: Recording) -> None:
    system = System.load(make_bundle(tmp_path / "plain", model={**MODEL, "f0_quantizer": None}), "cpu")
    with pytest.raises(UserError, match="trained without F0"):
        system.convert(*theo, target="theo", intonation=Intonation(2))


def test_units_without_repetitions_last_as_long_as_the_system_thinks(system: System, tmp_path: Path) -> None:
    voicing = np.linspace(0, 1, 12).astype(np.float32)
    knows = System.load(make_bundle(tmp_path / "knows", model={**MODEL, "durations": True}, voicing=voicing), "cpu")
    once, often = np.array([3, 9, 11]), np.array([3, 3, 3, 9, 11, 11])
    lasting = knows.vocoding.repeat(once)
    np.testing.assert_array_equal(lasting[np.flatnonzero(np.diff(lasting, prepend=-1))], once)
    said = knows.synthesize_units(once, "theo", deduplicated=True)
    assert len(said) == 320 * len(lasting)
    np.testing.assert_array_equal(said, knows.synthesize_units(often, "theo", deduplicated=True))
    np.testing.assert_array_equal(said, knows.synthesize_units(lasting, "theo"))
    with pytest.raises(UserError, match="durations=true"):
        system.synthesize_units(once, "theo", deduplicated=True)
