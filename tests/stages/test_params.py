"""params.yaml: composed from conf/, and each impossible value is one line that names its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from speech.errors import UserError
from stages.params.whole import load_params

PROJECT = Path(__file__).resolve().parents[2]


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(PROJECT / "conf"), version_base=None):
        config = compose("config", list(overrides))
    OmegaConf.resolve(config)
    return OmegaConf.to_object(config)


def test_params_yaml_is_the_default_composition() -> None:
    assert yaml.safe_load((PROJECT / "params.yaml").read_text()) == composed()


@pytest.mark.parametrize("scale", sorted(path.stem for path in (PROJECT / "conf/scale").glob("*.yaml")))
@pytest.mark.parametrize("corpus", sorted(path.stem for path in (PROJECT / "conf/corpus").glob("*.yaml")))
def test_every_scale_and_corpus_composes_to_valid_params(tmp_path: Path, scale: str, corpus: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(composed(f"scale={scale}", f"corpus={corpus}")))
    assert load_params(path).scale == scale


@pytest.mark.parametrize("encoder", sorted(path.stem for path in (PROJECT / "conf/encoder").glob("*.yaml")))
def test_every_encoder_composes_with_every_size(tmp_path: Path, encoder: str) -> None:
    path = tmp_path / "params.yaml"
    for scale in ("smoke", "paper"):
        path.write_text(yaml.safe_dump(composed(f"scale={scale}", f"encoder={encoder}")))
        params = load_params(path)
        pretrained = [f"pretrain/{name}" for name in params.pretrain.iterations]
        assert bool(pretrained) == encoder.startswith("pretrained")
        assert not pretrained or params.encoder.path == pretrained[-1]
        assert [i.path for i in params.pretrain.iterations.values()][1:] == pretrained[:-1]


GROUPS = [
    (group.name, path.stem)
    for group in sorted(path for path in (PROJECT / "conf").iterdir() if path.is_dir())
    for path in sorted(group.glob("*.yaml"))
    if group.name not in ("scale", "corpus", "encoder", "experiment")
]


@pytest.mark.parametrize("scale", sorted(path.stem for path in (PROJECT / "conf/scale").glob("*.yaml")))
@pytest.mark.parametrize(("group", "choice"), GROUPS)
def test_every_system_has_sizes_for_every_scale(tmp_path: Path, scale: str, group: str, choice: str) -> None:
    """Each choice of each system composes, and the scale is known by the folder of its sizes alone."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(composed(f"scale={scale}", f"{group}={choice}")))
    assert load_params(path).scale == scale
    assert not [file for file in (PROJECT / "conf/scale").glob("*.yaml") if f"{group}:" in file.read_text()]


@pytest.mark.parametrize("softvc", ["none", "soft", "all"])
def test_a_choice_of_systems_prevails_over_the_scales(softvc: str) -> None:
    """At scale smoke one variant of Soft-VC is tried, if nothing else is asked for."""
    variants = {"none": [], "soft": ["soft"], "all": ["soft", "discrete", "raw"]}[softvc]
    assert list(composed("scale=smoke")["softvc"]["variants"]) == ["soft"]
    assert list(composed("scale=smoke", f"softvc={softvc}")["softvc"]["variants"]) == variants
    assert composed("scale=smoke", f"softvc={softvc}")["train_acoustic"]["model"]["width"] == 16


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (PROJECT / "conf/experiment").glob("*.yaml")))
def test_every_experiment_composes_to_valid_params(tmp_path: Path, experiment: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(composed(f"+experiment={experiment}")))
    params = load_params(path)
    assert {params.roles.train, params.roles.target, params.roles.source} <= params.corpora.keys()
    assert all(params.source_of(name) for name in params.experiments)


@pytest.mark.parametrize("scale", ["smoke", "demo", "paper"])
def test_languages_compose_with_systems_that_speak_them(tmp_path: Path, scale: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(composed(f"scale={scale}", "softvc=all", "languages=demo")))
    params = load_params(path)
    spoken = {name: params.source_of(name).name for name, e in params.experiments.items() if e.table == "softvc2"}
    assert spoken["softvc_soft_french"] == "demo_french" and spoken["ground_truth_afrikaans"] == "demo_afrikaans"
    assert params.source_of("softvc_soft").name == params.roles.source
    systems = {f"systems/softvc-{name}" for name in params.softvc.variants}
    assert {e.input for e in params.experiments.values() if e.system == "softvc"} <= systems
    path.write_text(path.read_text().replace("source: demo_french", "source: demo_welsh"))
    with pytest.raises(UserError, match="source names 'demo_welsh'"):
        load_params(path).source_of("softvc_soft_french")


def test_pretraining_at_paper_size_is_the_published_recipe(tmp_path: Path) -> None:
    """Hsu et al. 2021, section IV-B and HuBERT Base's row of table I."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(composed("scale=paper", "encoder=pretrained")))
    spec = load_params(path).pretrain
    assert spec.model == {}  # HuBERT Base is what Hubert is by default
    assert (spec.mask_starts, spec.mask_span, spec.unmasked_weight, spec.warmup) == (0.08, 10, 0, 0.08)
    assert [(i.k, i.layer, i.steps) for i in spec.iterations.values()] == [(100, 0, 250_000), (500, 6, 400_000)]
    assert 46 < spec.loop.batch_size * spec.loop.segment_samples / 16_000 / 60 < 47


def test_scale_paper_is_the_published_generator(tmp_path: Path) -> None:
    generator = composed("scale=paper")["train_resynthesis"]["generator"]
    assert generator == {
        "embedding_dim": 128,
        "initial_channels": 512,
        "upsample_rates": [5, 4, 4, 2, 2],
        "upsample_kernels": [11, 8, 8, 4, 4],
        "source": "none",
        "resblock_kernels": [3, 7, 11],
        "resblock_dilations": [[1, 3, 5]] * 3,
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+kmeans.clusters=3", "kmeans: unknown key 'clusters'; known are source"),
        ("kmeans.k=many", "kmeans.k: expected int, found 'many'"),
        ("kmeans.k=1", "kmeans: k must be between 2 and 65535"),
        ("~f0.method", "f0: key 'method' is missing"),
        ("f0.method=crepe", "f0.method: 'crepe' is not one of harvest, dio"),
        ("f0.floor_hz=500", "f0: floor_hz .500.0. must be below ceil_hz"),
        ("roles.target=nobody", "roles.target names corpus 'nobody', but corpora has demo, demo_target"),
        ("+tables.polyak1.experiments=[nothing]", "tables.polyak1: unknown key 'experiments'; known are paper"),
        ("experiments.resynthesis.table=polyak9", "experiments.resynthesis.table names 'polyak9'; known are common, "),
        ("experiments.resynthesis.table=polyak2", "tables.polyak1 has no experiment of its own"),
        ("+tables.common.paper=polyak2021", "tables.common: 'common' stands for every table"),
        (
            "experiments.resynthesis.system=recordings",
            "system 'recordings' has no task 'resynthesis'; it has copy, conversion",
        ),
        (
            "experiments.resynthesis.system=nothing",
            "experiments.resynthesis: no system 'nothing'; there are ",
        ),
        ("train_resynthesis.loop.steps=0", "steps must be above 0"),
        ("train_resynthesis.loss.mel=true", "loss.mel: expected float, found True"),
        ("~f0", "key 'f0' is missing"),
        ("+asr=whisper", "unknown key 'asr'; known are scale, runtime"),
        ("+train_vocoder.variants.other.corpus=nobody", "a variant of TrainVocoder names corpus 'nobody'"),
    ],
)
def test_bad_value_is_one_line_naming_the_key(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(composed(override)))
    with pytest.raises(UserError, match=message) as error:
        load_params(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_not_a_params_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"params\.yaml: "):
        load_params(path)
