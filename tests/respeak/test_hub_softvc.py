"""What torch.hub gives: modules called as people call them, files by address and digest, the caller's packages left."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from models.encoders.soft import SoftHubert
from models.softvc import AcousticModel, Vocoder
from respeak.systems.softvc import published_files
from speech.errors import UserError
from tests.models.test_softvc import ACOUSTIC, HUBERT
from tests.speech.files_server import serving

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture()
def hub() -> Any:
    spec = importlib.util.spec_from_file_location("hubconf", PROJECT / "hubconf.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published_names(model: SoftHubert) -> dict[str, torch.Tensor]:
    """A small HuBERT's weights as the public files name them, wrapped as they are."""
    pairs = {
        "encoder.feature_projection.layer_norm.": "feature_projection.norm.",
        "encoder.feature_projection.projection.": "feature_projection.projection.",
        "encoder.transformer.pos_conv_embed.": "positional_embedding.",
        "encoder.transformer.layer_norm.": "norm.",
        "feature_extractor.conv_layers.0.layer_norm.": "feature_extractor.norm0.",
    }
    state = {}
    for key, value in model.network.encoder.model.state_dict().items():
        for ours, theirs in pairs.items():
            key = key.replace(ours, theirs)
        state["module." + key] = value
    head = {"proj.weight": model.network.projection.weight, "proj.bias": model.network.projection.bias}
    head |= {"label_embedding.weight": model.network.labels, "masked_spec_embed": model.network.replacement}
    return {**state, **{f"module.{key}": value.detach() for key, value in head.items()}}


def test_torch_hub_loads_it() -> None:
    vocoder = torch.hub.load(str(PROJECT), "hifigan_hubert_soft", source="local", pretrained=False, verbose=False)
    with torch.inference_mode():
        assert vocoder(torch.zeros(1, 128, 3)).shape == (1, 1, 480)


def test_units_become_speech_as_people_call_it(hub: Any) -> None:
    acoustic, vocoder = (hub.acoustic_hubert_discrete(pretrained=False), hub.hifigan(pretrained=False))
    mel = acoustic.generate(torch.randint(0, 100, (1, 4)))
    assert mel.shape == (1, 8, 128) and not acoustic.training
    with torch.inference_mode():
        assert vocoder(mel.transpose(1, 2)).shape == (1, 1, 1280)
    wave, rate = vocoder.generate(mel.transpose(1, 2))
    assert wave.shape == (1, 1, 1280 + 1600) and rate == 16000


def test_published_files_make_modules(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.softvc.public.HEAD_DIM", HUBERT["dim"] // HUBERT["heads"])
    torch.manual_seed(0)
    model = SoftHubert(9, 6, hubert=HUBERT).eval()
    torch.save({"hubert": published_names(model), "step": 3}, tmp_path / "soft.pt")
    wave = 0.1 * torch.randn(1, 1, 3210)
    units = hub.hubert_soft(path=str(tmp_path / "soft.pt")).units(wave)
    assert units.shape == (1, 10, 6)
    torch.testing.assert_close(units, model.units(wave))
    acoustic = AcousticModel(**{**ACOUSTIC, "mels": 128}).eval()
    torch.save({"acoustic-model": {f"module.{k}": v for k, v in acoustic.state_dict().items()}}, tmp_path / "a.pt")
    torch.testing.assert_close(
        hub.acoustic_hubert_soft(path=str(tmp_path / "a.pt")).generate(units), acoustic.generate(units)
    )


def test_discrete_units_and_their_centres(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.softvc.public.HEAD_DIM", HUBERT["dim"] // HUBERT["heads"])
    monkeypatch.setattr("models.softvc.public.DISCRETE_LAYER", 1)
    torch.save({"hubert": published_names(SoftHubert(9, 6, hubert=HUBERT))}, tmp_path / "discrete.pt")
    centres = torch.randn(4, HUBERT["dim"])
    torch.save({"n_features_in_": HUBERT["dim"], "_n_threads": 4, "cluster_centers_": centres}, tmp_path / "k.pt")
    model = hub.hubert_discrete(path=str(tmp_path / "discrete.pt"), kmeans_path=str(tmp_path / "k.pt"))
    wave = 0.1 * torch.randn(1, 1, 3333)
    units = model.units(wave)
    assert units.shape == (10,) and units.dtype == torch.int64
    kmeans = hub.kmeans100(path=str(tmp_path / "k.pt"))
    with torch.inference_mode():
        assert kmeans.predict(model(wave[:, 0])[0].numpy()).tolist() == units.tolist()
    assert kmeans.cluster_centers_.shape == (4, HUBERT["dim"])


def test_files_are_fetched_by_the_digits_in_their_names(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib
    import io

    sizes = {"initial_channels": 16, "resblock_kernels": [3], "resblock_dilations": [[1, 3, 5]]}
    made = {name: Vocoder(**sizes) for name in ("hifigan-hubert-soft", "hifigan-hubert-discrete")}
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path / "cache"))
    files = {}
    for name, vocoder in made.items():
        buffer = io.BytesIO()
        torch.save({f"module.{key}": value for key, value in vocoder.state_dict().items()}, buffer)
        data = buffer.getvalue()
        files[f"{name}-{hashlib.sha256(data).hexdigest()[:8]}.pt"] = data
    with serving({f"/{name}": data for name, data in files.items()}) as server:
        for name, file in zip(made, files, strict=True):
            public = published_files.File(f"{server.url}/{file}", len(files[file]), "softvc/hifigan")
            monkeypatch.setitem(published_files.FILES, name, public)
        soft, swapped = hub.hifigan_hubert_soft(progress=False), hub.hifigan_hubert_soft(progress=False, swapped=True)
        assert torch.equal(soft.conv_post.bias, made["hifigan-hubert-soft"].conv_post.bias)
        for ours, name in ((soft, "hifigan-hubert-soft"), (swapped, "hifigan-hubert-discrete")):
            made[name].remove_weight_norm()
            assert torch.equal(ours.conv_pre.weight, made[name].conv_pre.weight)
        wrong = published_files.File(f"{server.url}/{file}", 1, "softvc/hifigan")
        (tmp_path / "cache" / file).write_bytes(b"other bytes")
        monkeypatch.setitem(published_files.FILES, "hifigan", wrong)
        with pytest.raises(UserError, match="sha256 is"):
            hub.hifigan()


def test_the_callers_packages_stay_the_callers(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [name for name in sys.modules if name.partition(".")[0] in ("models", "speech")]
    before = {name: sys.modules.pop(name) for name in ours}
    try:
        theirs = {name: ModuleType(name) for name in ("models", "models.resnet", "speech")}
        sys.modules.update(theirs)
        for _ in range(2):
            vocoder = hub.hifigan(pretrained=False)
            assert {name: sys.modules.get(name) for name in theirs} == theirs
        with torch.inference_mode():
            assert vocoder(torch.zeros(1, 128, 2)).shape == (1, 1, 320)
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] in ("models", "speech")]:
            del sys.modules[name]
        sys.modules.update(before)


def test_other_weights_are_refused_in_a_line(hub: Any, tmp_path: Path) -> None:
    torch.save({"conv_pre.bias": torch.zeros(3)}, tmp_path / "odd.pt")
    with pytest.raises(UserError, match=r"odd\.pt: not the weights of softvc/acoustic-soft"):
        hub.acoustic_hubert_soft(path=str(tmp_path / "odd.pt"))
    with pytest.raises(UserError, match="no such file of weights"):
        hub.hubert_soft(path=str(tmp_path / "none.pt"))
