"""Soft-VC's stages on a tiny corpus, from discrete units to a system that converts; and what they refuse."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from models.encoders import build_encoder
from models.softvc.mel import wave_to_mel
from respeak.encoders.encoder_files import read_config
from respeak.encoders.loading import load_encoder, save_encoder
from respeak.folders import read_yaml
from respeak.systems.softvc.bundle import load_acoustic, load_vocoder, save_softvc
from respeak.systems.softvc.system import SoftVC
from speech.audio.waveforms import decode_audio
from speech.errors import UserError
from speech.storage.shards import read_rows, read_shard, shard_meta, shard_paths, write_shard
from stages import finetune_vocoder, soft_units, softvc, synthesize, train_acoustic, train_soft_units, train_vocoder
from stages.data.extraction import Extraction
from stages.features import encode_shard
from stages.kmeans import save
from stages.params.whole import load_params
from stages.runtime import jobs
from stages.runtime.stage import Stage
from stages.tracking.tracker import Tracker
from tests.stages.test_pretrain import SIZES
from tests.stages.test_synthesize import InProcess
from tests.stages.tiny_corpus import make_corpus

PROJECT = Path(__file__).resolve().parents[2]
LOOP = {"steps": 4, "batch_size": 2, "log_every": 2, "validate_every": 2, "checkpoint_every": 2, "workers": 0}
K = 10
EXPERIMENTS = ["softvc_soft", "softvc_discrete", "softvc_shuffled", "softvc_untrained", "vocoded"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A project's folder after every stage has run, in this process."""
    root = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(jobs, "open_executor", lambda runtime: InProcess(1))
        corpus = prepare(root)
        for path in shard_paths(corpus / "audio"):
            extraction = Extraction(Path("encoder"), "cpu", "float32", 16000 * 20)
            encode_shard(path, corpus / "features" / path.name, extraction, read_config("encoder"))
        stages = {
            "train_soft_units": (train_soft_units, ["soft", "masked"]),
            "soft_units": (soft_units, ["tiny"]),
            "train_acoustic": (train_acoustic, ["soft", "discrete", "raw"]),
            "train_vocoder": (train_vocoder, ["base"]),
            "finetune_vocoder": (finetune_vocoder, ["soft", "discrete"]),
            "softvc": (softvc, ["soft", "discrete", "raw"]),
            "synthesize": (synthesize, EXPERIMENTS),
        }
        for name, (module, variants) in stages.items():
            for variant in variants:
                module.run(stage_of(name, variant))
        yield root


def prepare(root: Path) -> Path:
    corpus = root / "data" / "tiny"
    make_corpus(corpus, 12, K)
    _mark_tests(corpus)
    encoder = {"kind": "mfcc", "layer": 0, "options": {}, "weights": "none"}
    saved = save_encoder(root / "encoder", encoder, build_encoder(encoder))
    known = {"k": K, "dim": saved["dim"], "normalise": "none", "encoder": saved["hash"]}
    save(root / "kmeans", np.random.default_rng(0).normal(size=(K, saved["dim"])).astype(np.float32), known)
    (root / "dvc.yaml").write_bytes((PROJECT / "dvc.yaml").read_bytes())
    (root / "params.yaml").write_text(yaml.safe_dump(params()))
    return corpus


def _mark_tests(corpus: Path) -> None:
    """The last utterances are for testing."""
    from speech.storage.shards import AUDIO

    path = shard_paths(corpus / "audio")[-1]
    rows = [{**row, "split": "test" if row["id"] > "u009" else row["split"]} for row in read_shard(path)]
    write_shard(path, rows, AUDIO)


def params() -> dict[str, Any]:
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["roles"] = dict.fromkeys(params["roles"], "tiny")
    params["corpora"] = {"tiny": {"adapter": "folder", "root": "recordings"}}
    params["runtime"] |= {"threads": 1, "workers": 1, "device": "cpu"}
    params["audio"]["codec"] = "wav"
    spec = params["train_soft_units"]
    spec |= {"variants": {"soft": {"alpha": None}, "masked": {"alpha": 0.8}}, "model": SIZES, "label_dim": 6}
    spec["loop"] |= {**LOOP, "segment_samples": 2560, "precision": "32-true"}
    params["soft_units"] = {"corpora": ["tiny"], "encoder": "train_soft_units/soft"}
    contents = {"soft": "soft_units", "discrete": "units", "raw": "features"}
    spec = params["train_acoustic"]
    spec["variants"] = {n: {"content": c, "corpus": "tiny", "speakers": "table"} for n, c in contents.items()}
    spec["model"] = {"unit_dim": 5, "width": 6, "channels": 8, "hidden": 8}
    spec["loop"] |= LOOP
    spec = params["train_vocoder"]
    spec |= {"variants": {"base": {"corpus": "tiny"}}, "adversarial_from_step": 2}
    spec["generator"] |= {"initial_channels": 32, "resblock_kernels": [3], "resblock_dilations": [[1]]}
    spec["discriminator"] = {"width": 0.0625, "periods": [2], "scales": 0}
    spec["loop"] |= {**LOOP, "segment_samples": 1600}
    spec = params["finetune_vocoder"]
    spec["variants"] = {
        name: {
            "acoustic": f"train_acoustic/{name}",
            "content": content,
            "corpus": "tiny",
            "vocoder": "train_vocoder/base",
        }
        for name, content in contents.items()
        if name != "raw"
    }
    spec["loop"] |= {**LOOP, "segment_samples": 1600}
    encoders = {"soft": "train_soft_units/soft", "discrete": "encoder", "raw": "encoder"}
    params["softvc"]["variants"] = {
        name: {
            "encoder": encoder,
            "acoustic": f"train_acoustic/{name}",
            "vocoder": "train_vocoder/base" if name == "raw" else f"finetune_vocoder/{name}",
        }
        for name, encoder in encoders.items()
    }
    experiment = {"system": "softvc", "task": "conversion", "units": "own", "weights": "trained"}
    for name, changes in {
        "softvc_soft": {"input": "systems/softvc-soft"},
        "softvc_discrete": {"input": "systems/softvc-discrete"},
        "softvc_shuffled": {"input": "systems/softvc-discrete", "units": "shuffled"},
        "softvc_untrained": {"input": "systems/softvc-soft", "weights": "untrained"},
        "vocoded": {"input": "systems/softvc-raw", "task": "vocode"},
    }.items():
        params["experiments"][name] = {**experiment, **changes}
    return params


def stage_of(name: str, variant: str, **changes: Any) -> Stage:
    loaded = dataclasses.replace(load_params(), **changes)
    return Stage(name, variant, loaded, Tracker(Path("journal.jsonl"), {}))


def column(path: Path, name: str) -> list[str]:
    with path.open() as file:
        return [row[name] for row in csv.DictReader(file)]


def test_soft_units_report_how_often_they_name_a_frame_right(made: Path) -> None:
    for variant in ("soft", "masked"):
        accuracies = column(made / f"train_soft_units/{variant}/history.csv", "valid/accuracy")
        assert all(0 <= float(value) <= 1 for value in accuracies) and len(accuracies) == 2
    config = read_config(made / "train_soft_units/soft")
    assert (config["kind"], config["dim"], config["options"]["k"]) == ("soft_hubert", 6, K)
    states = [load_encoder(made / f"train_soft_units/{v}").state_dict() for v in ("soft", "masked")]
    assert not torch.equal(states[0]["network.labels"], states[1]["network.labels"])


def test_the_soft_units_of_a_corpus_are_its_encoders(made: Path) -> None:
    encoder = load_encoder(made / "train_soft_units/soft")
    corpus = made / "data/tiny"
    assert (
        shard_meta(corpus / "soft_units/part-00000.parquet")["encoder"]
        == read_config(made / "train_soft_units/soft")["hash"]
    )
    for audio, row in zip(read_rows(corpus / "audio"), read_rows(corpus / "soft_units"), strict=True):
        wave = torch.from_numpy(decode_audio(audio["audio"]))[None]
        with torch.inference_mode():
            expected = encoder(wave)[0].numpy()
        assert row["id"] == audio["id"] and len(row["features"]) == audio["num_samples"] // 320
        np.testing.assert_allclose(row["features"], expected, atol=2e-3, rtol=2e-3)


def test_a_hubert_is_a_warm_start(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"kind": "hubert", "layer": 1, "options": {**SIZES, "dim": 8}, "weights": "random"}
    encoder = build_encoder(config)
    save_encoder(tmp_path / "encoder", config, encoder)
    monkeypatch.chdir(tmp_path)
    read = load_params(made / "params.yaml")
    options = train_soft_units.model_options(read, 7)
    assert options["hubert"]["dim"] == 8 and options["k"] == 7
    module = train_soft_units.build_module(read, options, read.train_soft_units.variants["soft"])
    began = module.model.network.encoder.state_dict()
    assert all(torch.equal(began[name], value) for name, value in encoder.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.model.parameters())


def test_acoustic_models_hear_what_their_variant_says(made: Path) -> None:
    sizes = {name: load_acoustic(made / f"train_acoustic/{name}")[1]["model"] for name in ("soft", "discrete", "raw")}
    assert [(s["num_units"], s["unit_dim"], s["num_speakers"]) for s in sizes.values()] == [
        (0, 6, 2),
        (K, 5, 2),
        (0, 39, 2),
    ]
    assert float(column(made / "train_acoustic/soft/history.csv", "valid/l1_free_running")[-1]) > 0


def test_dvc_plots_draw_what_each_training_lost(made: Path, project: Path) -> None:
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    for name in ("train_soft_units", "train_acoustic", "train_vocoder", "finetune_vocoder"):
        ((pattern, look),) = stages[name]["do"]["plots"][0].items()
        files = list(made.glob(pattern.replace("${key}", "*")))
        assert files, name
        for path in files:
            assert path.read_text() == (path.with_suffix("") / "history.csv").read_text()
            assert float(column(path, look["y"])[0]) > 0


def test_what_vocoders_make_is_heard_and_seen(made: Path) -> None:
    events = [json.loads(line) for line in (made / "journal.jsonl").read_text().splitlines()]
    artifacts = [event["name"] for event in events if event["event"] == "artifact"]
    # Of one vocoder and of two that went on from it.
    for name in ("audio/0-recording.wav", "audio/1-generated.wav", "mel_target_and_generated.png"):
        assert artifacts.count(name) == 3
    models = [event["name"] for event in events if event["event"] == "model"]
    assert models == ["softvc-soft", "softvc-discrete", "softvc-raw"]
    recorded, generated = (
        decode_audio((made / f"journal.files/audio/0-{t}.wav").read_bytes()) for t in ("recording", "generated")
    )
    assert len(recorded) == len(generated) and np.ptp(generated) > 0


def test_several_voices_without_a_table_are_refused(made: Path) -> None:
    spec = load_params().train_acoustic
    one = {"soft": dataclasses.replace(spec.variants["soft"], speakers="one")}
    with pytest.raises(UserError, match="tiny has 2 speakers, and a model of one voice would mix them"):
        train_acoustic.run(stage_of("train_acoustic", "soft", train_acoustic=dataclasses.replace(spec, variants=one)))


def test_fine_tuning_goes_on_from_generator_and_discriminators(made: Path) -> None:
    parts = [load_vocoder(made / name)[:2] for name in ("train_vocoder/base", "finetune_vocoder/soft")]
    for before, after in zip(*parts, strict=True):
        old, new = before.state_dict(), after.state_dict()
        moved = max(float((new[name] - old[name]).abs().max()) for name in old)
        # Four steps of AdamW move a weight by at most four learning rates (and a little decay).
        assert 0 < moved < 5 * load_params().finetune_vocoder.optimiser.learning_rate


def test_fine_tuning_hears_what_the_acoustic_model_predicts_by_itself(made: Path) -> None:
    variant = load_params().finetune_vocoder.variants["discrete"]
    corpus, output = made / "data/tiny", made / "mels.parquet"
    name = "part-00001.parquet"
    finetune_vocoder.predict_shard((corpus / "audio" / name, corpus / "units" / name), output, variant, "cpu")
    model, config = load_acoustic(made / "train_acoustic/discrete")
    for audio, units, said in zip(
        *(read_shard(p) for p in (corpus / "audio" / name, corpus / "units" / name, output)), strict=True
    ):
        if audio["split"] == "test":
            assert not len(said["features"])
            continue
        speaker = torch.tensor([config["speakers"].index(audio["speaker"])])
        expected = model.generate(torch.from_numpy(units["units"].astype(np.int64))[None], speaker=speaker)[0]
        np.testing.assert_allclose(said["features"], expected, atol=1e-2)


def test_systems_say_test_utterances_in_other_voices(made: Path) -> None:
    system = SoftVC.load(made / "systems/softvc-soft", "cpu")
    assert system.speakers == ["high", "low"]
    audio = {row["id"]: row for row in read_rows(made / "data/tiny/audio")}
    rows = list(read_rows(made / "synthesize/softvc_soft"))
    assert {row["source_id"] for row in rows} == {"u010", "u011"}
    for row in rows:
        source = audio[row["source_id"]]
        assert row["target_speaker"] != row["source_speaker"]
        wave = decode_audio(source["audio"])
        content = system.content(wave)[: -(-source["num_speech"] // 320)]
        expected = system.synthesize(content, row["target_speaker"])[: source["num_speech"]]
        np.testing.assert_allclose(decode_audio(row["audio"]), np.clip(expected, -1, 1), atol=1e-3)


def test_the_vocoder_alone_speaks_the_recordings_own_log_mel(made: Path) -> None:
    system = SoftVC.load(made / "systems/softvc-raw", "cpu")
    audio = {row["id"]: row for row in read_rows(made / "data/tiny/audio")}
    for row in read_rows(made / "synthesize/vocoded"):
        source = audio[row["source_id"]]
        wave = decode_audio(source["audio"])[: source["num_speech"]]
        assert (row["target_speaker"], row["num_samples"]) == (source["speaker"], len(wave))
        mel = wave_to_mel(torch.from_numpy(np.pad(wave, (0, -len(wave) % 320)))[None])[0].T.numpy()
        expected = np.clip(system.vocode(mel)[: len(wave)], -1, 1)
        np.testing.assert_allclose(decode_audio(row["audio"]), expected, atol=1e-3)


@pytest.mark.parametrize("experiment", ["softvc_shuffled", "softvc_untrained"])
def test_baselines_differ_from_what_they_bound(made: Path, experiment: str) -> None:
    bounded = "softvc_discrete" if experiment == "softvc_shuffled" else "softvc_soft"
    ours, theirs = (decode_audio(next(read_rows(made / f"synthesize/{n}"))["audio"]) for n in (experiment, bounded))
    assert len(ours) == len(theirs) and np.abs(ours - theirs).max() > 1e-3


def test_parts_of_different_encoders_make_no_system(made: Path) -> None:
    config = read_yaml(made / "systems/softvc-soft/config.yaml")
    acoustic, vocoder = (made / name for name in ("train_acoustic/soft", "train_vocoder/base"))
    with pytest.raises(UserError, match="trained on what encoder"):
        save_softvc(made / "systems/none", config, made / "train_soft_units/masked", acoustic, vocoder, None)
    assert not (made / "systems/none").exists()


def test_units_beyond_the_codebook_are_refused(made: Path, tmp_path: Path) -> None:
    system = SoftVC.load(made / "systems/softvc-discrete", "cpu")
    with pytest.raises(UserError, match=rf"units \(N,\) from 0 to {K - 1}"):
        system.mels([np.array([1, K], np.uint16)], ["low"])
