"""Weights of others: Hugging Face folders against transformers, public names against torchaudio, the cache."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.encoders import build_encoder
from models.encoders.keys import torchaudio_state
from respeak import weights
from respeak.encoders.encoder_files import read_state
from respeak.encoders.encoder_weights import read_encoder_weights
from respeak.encoders.loading import load_weights
from respeak.weights import PUBLIC, cached, locate
from speech.errors import UserError
from tests.speech.files_server import serving

TINY: dict[str, Any] = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def huggingface_model(kind: str, **config: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    configs = {"hubert": transformers.HubertConfig, "wav2vec2": transformers.Wav2Vec2Config}
    models = {"hubert": transformers.HubertModel, "wav2vec2": transformers.Wav2Vec2Model}
    torch.manual_seed(0)
    return models[kind](configs[kind](**TINY, **config)).eval()


def encoder_of(folder: Path, kind: str, layer: int) -> Any:
    state, options, _ = read_encoder_weights(folder, kind)
    encoder = build_encoder({"kind": kind, "layer": layer, "options": options})
    load_weights(encoder, state, folder)
    return encoder


@pytest.mark.parametrize(("kind", "config"), [("hubert", {}), ("wav2vec2", LARGE)])
def test_huggingface_folders_give_what_transformers_gives(tmp_path: Path, kind: str, config: dict[str, Any]) -> None:
    model = huggingface_model(kind, **config)
    model.save_pretrained(tmp_path)
    wave = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(1)) + 0.02
    heard = torch.nn.functional.layer_norm(wave, wave.shape) if config else wave
    with torch.no_grad():
        hidden = model(torch.nn.functional.pad(heard, (40, 40)), output_hidden_states=True).hidden_states
    # The last of them has gone through a norm that is no part of a norm-first layer.
    torch.testing.assert_close(encoder_of(tmp_path, kind, 1)(wave), hidden[1], atol=1e-4, rtol=1e-4)
    if not config:
        torch.testing.assert_close(encoder_of(tmp_path, kind, 2)(wave), hidden[2], atol=1e-4, rtol=1e-4)


def test_sharded_folders_and_older_names_of_weight_norm(tmp_path: Path) -> None:
    model = huggingface_model("hubert")
    model.save_pretrained(tmp_path / "whole")
    state = read_state(tmp_path / "whole" / "model.safetensors")
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, name in old.items():
        state = {f"hubert.{key}".replace(new, name).replace("hubert.hubert.", "hubert."): v for key, v in state.items()}
    assert any(key.endswith("weight_g") for key in state)
    names, folder = sorted(state), tmp_path / "sharded"
    folder.mkdir()
    (folder / "config.json").write_text((tmp_path / "whole" / "config.json").read_text())
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, keys in parts.items():
        save_file({key: state[key] for key in keys}, folder / part)
    index = {"weight_map": {key: part for part, keys in parts.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    wave = torch.randn(1, 4000, generator=torch.Generator().manual_seed(2))
    assert torch.equal(encoder_of(folder, "hubert", 1)(wave), encoder_of(tmp_path / "whole", "hubert", 1)(wave))


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    config = {**TINY, "model_type": "wavlm"}
    path = tmp_path / "config.json"
    messages = {
        "describes a model of type wavlm": config,
        "'conv_kernel' is missing": {**config, "model_type": "hubert"},
        "not the published ones": {
            **config, "model_type": "hubert", "conv_kernel": [10] * 7, "conv_stride": [5] * 7
        },
    }  # fmt: skip
    with pytest.raises(UserError, match=r"config\.json: not found"):
        read_encoder_weights(tmp_path, "hubert")
    for message, content in messages.items():
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            read_encoder_weights(tmp_path, "hubert")
    path.write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        read_encoder_weights(tmp_path, "hubert")


def test_public_names_are_torchaudios_with_its_sizes() -> None:
    pipelines = pytest.importorskip("torchaudio.pipelines")
    for name, public in PUBLIC.items():
        if public.kind == "kmeans":
            continue
        bundle = getattr(pipelines, name)
        with torch.device("meta"):
            ours = build_encoder({"kind": public.kind, "layer": 1, "options": public.options})
            theirs = bundle.get_model.__globals__["utils"]._get_model("Wav2Vec2", bundle._params)
        shapes = {f"model.{key}": value.shape for key, value in theirs.state_dict().items()}
        assert {key: value.shape for key, value in ours.state_dict().items()} == shapes, name
        assert ours.normalise_wave == bundle._normalize_waveform
        for one, other in zip(ours.model.encoder.transformer.layers, theirs.encoder.transformer.layers, strict=True):
            assert one.layer_norm_first == other.layer_norm_first
            assert one.attention.num_heads == other.attention.num_heads
        assert public.url.endswith(bundle._path)
        assert public.size == pytest.approx(4 * sum(p.numel() for p in theirs.parameters()), rel=0.02)


def test_released_names_of_weight_norm_load() -> None:
    donor = build_encoder({"kind": "hubert", "layer": 1, "options": {"layers": 1, "dim": 16, "heads": 2}})
    state = donor.model.state_dict()
    released = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in state.items()
    }
    assert released.keys() != state.keys()
    assert torchaudio_state(released).keys() == state.keys()


@pytest.fixture()
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A tiny public HuBERT: its server, its sha256, and an empty cache."""
    options = {"layers": 1, "dim": 16, "heads": 2, "feed_forward": 32, "conv_channels": 8}
    options |= {"position_kernel": 8, "position_groups": 2}
    donor = build_encoder({"kind": "hubert", "layer": 1, "options": options, "seed": 3})
    torch.save(donor.model.state_dict(), tmp_path / "made.pth")
    data = (tmp_path / "made.pth").read_bytes()
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path / "cache"))
    with serving({"/tiny.pth": data}) as server:
        monkeypatch.setitem(
            PUBLIC, "TINY", weights.Public(f"{server.url}/tiny.pth", len(data), "MIT", "hubert", options)
        )
        yield server, hashlib.sha256(data).hexdigest(), donor


def test_public_weights_fresh_and_again_offline(served: Any) -> None:
    server, digest, donor = served
    path = locate("TINY", "", digest, "encoder")
    assert path == cached(f"{server.url}/tiny.pth")
    encoder = build_encoder({"kind": "hubert", "layer": 1, "options": PUBLIC["TINY"].options})
    load_weights(encoder, read_state(path), path)
    wave = torch.randn(1, 3200)
    assert torch.equal(encoder(wave), donor(wave))
    server.files.clear()
    assert locate(f"{server.url}/tiny.pth", "", digest, "encoder") == path
    assert len(server.asked) == 1


def test_a_truncated_download_is_continued(served: Any) -> None:
    server, digest, _ = served
    server.cut_after = [1000]
    assert locate("TINY", "", digest, "encoder").is_file()
    assert server.asked == [None, "bytes=1000-"]


def test_tampered_or_absent_public_weights_leave_nothing(served: Any) -> None:
    server, digest, _ = served
    whole = server.files["/tiny.pth"]
    server.files["/tiny.pth"] = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
    with pytest.raises(UserError, match="not kept"):
        locate("TINY", "", digest, "encoder")
    server.files.clear()
    with pytest.raises(UserError, match="404"):
        locate("TINY", "", digest, "encoder")
    assert not cached(PUBLIC["TINY"].url).exists()


def test_offline_names_the_address_the_size_and_the_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=rf"127\.0\.0\.1:9/x\.pth: cannot be reached.*{tmp_path}"):
        locate("http://127.0.0.1:9/x.pth", "", "0" * 64, "encoder")


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        ("file", "nowhere.pt", r"encoder\.path: nowhere\.pt: no such file"),
        ("HUBERT_BASE", "", r"encoder\.sha256: needed to fetch https://.*hubert_fairseq_base_ls960\.pth \(378 MB\)"),
        ("HUBERT_SMALL", "", "'HUBERT_SMALL' is not 'file', an address, or one of HUBERT_BASE"),
    ],
)
def test_unusable_sources_say_what_to_do(source: str, path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        locate(source, path, None, "encoder")
