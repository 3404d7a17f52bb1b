"""ECAPA-TDNN and x-vectors against SpeechBrain's own, and as judges that parameters name.

``tests/golden/speakers.json`` says how it was made.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from models.judges.speaker_networks import EcapaTDNN, XVector
from respeak.judges.panel import describe
from respeak.judges.speaker_judge import speaker_judge
from speech.audio.waveforms import encode_audio, read_wave, resample
from speech.errors import UserError
from speech.judges.cache import Recording
from speech.judges.settings import ASR, Evaluate, Phonemes
from tests.golden.fill import fill

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/speakers.json").read_text(encoding="utf-8"))
CLIPS = {
    "LJ001-0002": "LJSpeech-1.1/wavs/LJ001-0002.*",
    "7_theo_0": "free-spoken-digit-dataset/recordings/7_theo_0.wav",
}
EVALUATE = Evaluate(
    ASR("pocketsphinx", "open"), Phonemes("none"), {}, [], {}, "resemblyzer", 4.0, 0.2, "lag", 100
)  # fmt: skip
NETWORKS = {"ecapa": EcapaTDNN, "xvector": XVector}


def wave(shared: Path, clip: str) -> np.ndarray:
    path = next((shared / "data").glob(CLIPS[clip]))
    return np.asarray(resample(*read_wave(path)), np.float32)[:16_000]


def filled(name: str) -> dict[str, torch.Tensor]:
    state = GOLDEN[name]["state"].items()
    return {key: fill(key, shape, "int64" if "num_batches" in key else "float32", 0, 1.0) for key, shape in state}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    for name in NETWORKS:
        torch.save(filled(name), folder / f"{name}.ckpt")
    return {name: str(folder / f"{name}.ckpt") for name in NETWORKS}


@pytest.mark.parametrize("name", NETWORKS)
def test_state_has_the_public_files_names_and_shapes(name: str) -> None:
    assert {key: list(value.shape) for key, value in NETWORKS[name]().state_dict().items()} == GOLDEN[name]["state"]


@pytest.mark.parametrize("name", NETWORKS)
def test_embeddings_are_speechbrains(name: str, weights: dict[str, str], shared: Path) -> None:
    judge = speaker_judge(replace(EVALUATE, speaker_judge=name, weights=weights))
    for clip, expected in GOLDEN[name]["embedding"].items():
        vector = np.array(judge(SimpleNamespace(wave=wave(shared, clip)))["embedding"])
        # SpeechBrain adds noise of up to 1e-4 to the means of x-vectors; clips are 1e-2 apart.
        np.testing.assert_allclose(vector[:8], expected, atol=2e-5)
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-5)
        assert vector.shape == (NETWORKS[name].dim,)


@pytest.mark.parametrize("name", NETWORKS)
def test_awkward_recordings_have_a_vector(name: str, weights: dict[str, str]) -> None:
    judge = speaker_judge(replace(EVALUATE, speaker_judge=name, weights=weights))
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 4
    for heard in (noise[:1], noise[:100], noise[:700], 1e-4 * noise):
        vector = np.array(judge(Recording(encode_audio(heard, "wav"), "x"))["embedding"])
        assert np.isfinite(vector).all()
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-5)
    assert not np.any(judge(Recording(encode_audio(0 * noise, "wav"), "x"))["embedding"])


def test_absent_and_wrong_weights_are_named(
    tmp_path: Path, weights: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path))
    for name, public in (("ecapa", "spkrec-ecapa-voxceleb"), ("xvector", "spkrec-xvect-voxceleb")):
        address = rf"get https://\S+/{public}/\S+/embedding_model\.ckpt"
        message = rf"evaluate\.weights\.{name}: {tmp_path}/{public}\.ckpt: not found; {address}"
        with pytest.raises(UserError, match=message):
            speaker_judge(replace(EVALUATE, speaker_judge=name))
    # The one's file is not the other's.
    judge = speaker_judge(replace(EVALUATE, speaker_judge="xvector", weights={"xvector": weights["ecapa"]}))
    with pytest.raises(UserError, match=r"ecapa\.ckpt: not the weights"):
        judge(Recording(encode_audio(np.ones(800, np.float32) / 2, "wav"), "x"))


def test_its_name_is_in_the_description_and_its_weights_decide_what_is_kept(weights: dict[str, str]) -> None:
    evaluate = replace(EVALUATE, speaker_judge="ecapa", weights=weights)
    f0 = {"method": "dio", "floor_hz": 60.0, "ceil_hz": 400.0}
    assert describe(evaluate, f0)["speaker"].startswith("ecapa (SpeechBrain's spkrec-ecapa-voxceleb), torch ")
    other = replace(evaluate, weights={"ecapa": weights["xvector"]})
    assert speaker_judge(evaluate).identity != speaker_judge(other).identity
