"""System bundles: the one folder that synthesis, the command line and the hub read.

    systems/<name>/config.yaml              what it is, rates, encoder, k-means, F0, audio, model, speakers, provenance
                   model.safetensors        generator weights, the F0 quantiser under ``quantizer.``
                   centroids.safetensors    k-means centres ``centroids`` (K, D) float32, optional ``voiced`` (K,)
                   speakers.json            F0 statistics by speaker name
                   vectors.safetensors      optional: mean d-vector (256,) float32 by speaker name
                   frame_stats.safetensors  optional: mean and deviation (2, D) of encoder frames by speaker name
                   encoder/                 the content encoder, held to ``config.encoder.hash``

A bundle is built beside its place and renamed, so a reader never sees half of one. Everything is YAML, JSON or
safetensors: loading one runs no code of its author.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from respeak.encoders.encoder_files import read_config as read_encoder_config
from respeak.folders import CONFIG, building, check_shapes, read_tensors, read_yaml, save_state, shapes
from speech.errors import UserError

if TYPE_CHECKING:
    import torch

    from models.resynthesis import UnitGenerator

FORMAT = 1
SYSTEM, SOFT_VC = "resynthesis", "softvc"
MODEL, CENTROIDS = "model.safetensors", "centroids.safetensors"
SPEAKERS, VECTORS, FRAME_STATS = "speakers.json", "vectors.safetensors", "frame_stats.safetensors"
ENCODER = "encoder"
UNTRAINED_KEEPS = ("quantizer.", "speaker_f0")

_EVERY_SYSTEM: dict[str, tuple[type, ...]] = {
    "sample_rate": (int,),
    "unit_hop": (int,),
    "encoder.kind": (str,),
    "encoder.dim": (int,),
    "encoder.hash": (str,),
    "audio.trim_db": (int, float, type(None)),
    "audio.normalise_peak": (int, float),
    "audio.pad_multiple": (int,),
    "speakers": (list,),
}
_RESYNTHESIS: dict[str, tuple[type, ...]] = {
    "f0_hop": (int,),
    "kmeans.k": (int,),
    "kmeans.normalise": (str,),
    "f0.method": (str,),
    "f0.floor_hz": (int, float),
    "f0.ceil_hz": (int, float),
    "f0.normalise": (str,),
    "model": (dict,),
}
_SOFT_VC: dict[str, tuple[type, ...]] = {"content": (str,), "acoustic": (dict,), "vocoder": (dict,)}
_REQUIRED = {SYSTEM: {**_EVERY_SYSTEM, **_RESYNTHESIS}, SOFT_VC: {**_EVERY_SYSTEM, **_SOFT_VC}}


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes:
        path: its folder.
        config: ``config.yaml`` as read.
        speakers: F0 statistics (``{"hz": {"mean", "std"}, "log": {...}, "voiced_frames"}``) by name, in the order of
            the speaker embedding's rows.
        centroids: (K, D) float32.
        vectors: mean d-vectors (256,) float32 by name; empty where the bundle has none.
        frame_stats: mean and deviation (2, D) float32 of encoder frames by name; empty where the bundle has none.
        voicing: (K,) float32, how often a unit is voiced; None where the bundle does not say.
    """

    path: Path
    config: dict[str, Any]
    speakers: dict[str, dict[str, Any]]
    centroids: np.ndarray
    vectors: dict[str, np.ndarray]
    frame_stats: dict[str, np.ndarray]
    voicing: np.ndarray | None = None

    @classmethod
    def load(cls, directory: Path | str) -> Bundle:
        """Read and check every file; weights are compared by name and shape and read by `generator`.

        Raises:
            UserError: a file is missing or damaged, the format version or system is another one, the encoder is not
                the one the bundle was trained with, or weights do not fit the configuration.
        """
        path = Path(directory)
        if not path.is_dir():
            raise UserError(f"{path}: no such system bundle; train one, or give the folder that holds {CONFIG}")
        for name in (CONFIG, MODEL, CENTROIDS, SPEAKERS, f"{ENCODER}/{CONFIG}"):
            if not (path / name).is_file():
                raise UserError(f"{path}: not a complete system bundle: {name} is missing; make the bundle again")
        config = read_config(path, SYSTEM)
        found, expected = read_encoder_config(path / ENCODER)["hash"], config["encoder"]["hash"]
        if found != expected:
            raise UserError(
                f"{path / ENCODER}: is encoder {found[:12]}, but the system was trained with {expected[:12]}; "
                "restore the encoder or make the bundle again"
            )
        speakers = _read_speakers(path / SPEAKERS, config)
        centroids, voicing = _read_centroids(path / CENTROIDS, config)
        vectors, frames = (read_tensors(path / n) if (path / n).is_file() else {} for n in (VECTORS, FRAME_STATS))
        bundle = cls(path, config, speakers, centroids, vectors, frames, voicing)
        bundle._check_weights()
        if config["model"].get("speaker_dim") and (lost := sorted(speakers.keys() - bundle.vectors.keys())):
            raise UserError(
                f"{path / VECTORS}: the system knows voices by d-vectors, but {', '.join(lost)} has none; "
                "make the bundle again"
            )
        return bundle

    def generator(self, untrained_seed: int | None = None) -> UnitGenerator:
        """The generator with its weights, in eval mode on the CPU.

        With ``untrained_seed`` the architecture is the same but all weights are drawn afresh, except those that this
        training was given (the F0 quantiser, the speakers' F0 statistics): the baseline that learnt nothing.
        """
        import torch

        state = {name: torch.from_numpy(value) for name, value in read_tensors(self.path / MODEL).items()}
        if untrained_seed is None:
            model = _build_model(self.config)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(untrained_seed)
                model = _build_model(self.config)
            kept = {name: value for name, value in state.items() if name.startswith(UNTRAINED_KEEPS)}
            state = {**model.state_dict(), **kept}
        model.load_state_dict(state)
        return model.eval()

    @property
    def num_weights(self) -> int:
        """Numbers in the generator's weights, the F0 quantiser's among them."""
        return sum(math.prod(shape) for shape in shapes(self.path / MODEL).values())

    def _check_weights(self) -> None:
        import torch

        with torch.device("meta"):
            expected = {name: list(value.shape) for name, value in _build_model(self.config).state_dict().items()}
        check_shapes(self.path / MODEL, expected)


def save_bundle(
    directory: Path | str,
    config: Mapping[str, Any],
    state: Mapping[str, torch.Tensor],
    centroids: np.ndarray,
    encoder_dir: Path | str,
    speakers: Mapping[str, Mapping[str, Any]],
    vectors: Mapping[str, np.ndarray] | None = None,
    frame_stats: Mapping[str, np.ndarray] | None = None,
    voicing: np.ndarray | None = None,
) -> None:
    """Write a bundle whole or not at all, replacing one that is there.

    Args:
        directory: where; its parent is made if missing.
        config: everything of ``config.yaml`` but ``format``, ``system``, ``encoder`` and ``speakers``, filled here.
        state: the generator's state dict.
        centroids: (K, D) float32.
        encoder_dir: folder of the content encoder, copied.
        speakers: F0 statistics by name, in the order of the speaker embedding's rows.
        vectors: mean d-vector (256,) by speaker name, for finding the nearest known speaker.
        frame_stats: (2, D) mean and deviation of encoder frames by speaker name, for ``kmeans.normalise: speaker``.
        voicing: (K,) how often a unit is voiced, 0 to 1, for speaking from units alone.

    Raises:
        UserError: what is given would not load again.
    """
    from safetensors.numpy import save_file as save_arrays

    units = {"centroids": centroids} if voicing is None else {"centroids": centroids, "voiced": voicing}
    with building(Path(directory)) as made:
        shutil.copytree(encoder_dir, made / ENCODER)
        save_state(made / MODEL, state)
        save_arrays({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in units.items()}, made / CENTROIDS)
        for name, arrays in ((VECTORS, vectors), (FRAME_STATS, frame_stats)):
            if arrays:
                save_arrays({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in arrays.items()}, made / name)
        (made / SPEAKERS).write_text(json.dumps(dict(speakers), indent=1, ensure_ascii=False) + "\n")
        encoder = read_encoder_config(made / ENCODER)
        whole = {**config, "format": FORMAT, "system": SYSTEM, "encoder": encoder, "speakers": list(speakers)}
        (made / CONFIG).write_text(yaml.safe_dump(whole, sort_keys=True, allow_unicode=True))
        Bundle.load(made)


def _build_model(config: Mapping[str, Any]) -> UnitGenerator:
    from models.resynthesis import UnitGenerator

    try:
        return UnitGenerator(**config["model"])
    except (TypeError, ValueError) as error:
        raise UserError(f"{CONFIG}: model: {' '.join(str(error).split())}; the bundle is of another version") from None


def read_config(directory: Path | str, system: str | None = None) -> dict[str, Any]:
    """A bundle's ``config.yaml``, its keys checked; light, the weights are not looked at.

    Raises:
        UserError: it is missing, of another format, or of another system than ``system`` (None: any that is known).
    """
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise UserError(f"{directory}: no system bundle there ({CONFIG} is missing); train one first")
    config = read_yaml(path)
    if "format" not in config:
        raise UserError(f"{path}: not a system bundle's configuration: key 'format' is missing")
    if config["format"] != FORMAT:
        raise UserError(f"{path}: bundle format {config['format']}, this version reads {FORMAT}; make the bundle again")
    found = config.get("system")
    if found not in _REQUIRED or system not in (None, found):
        expected = f"'{system}'" if system else " or ".join(f"'{name}'" for name in _REQUIRED)
        raise UserError(f"{path}: holds a system '{found}', expected {expected}; give another bundle")
    for key, kinds in _REQUIRED[found].items():
        value: Any = config
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise UserError(f"{path}: key '{key}' is missing; make the bundle again")
            value = value[part]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise UserError(f"{path}: {key}: expected {kinds[0].__name__}, found {value!r}")
    return config


def _read_speakers(path: Path, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    try:
        stats = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if sorted(stats) != sorted(config["speakers"]):
        raise UserError(f"{path}: speakers {', '.join(sorted(stats))} are not those of {CONFIG}; make the bundle again")
    return {name: stats[name] for name in config["speakers"]}


def _read_centroids(path: Path, config: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    tensors = read_tensors(path)
    centroids, voicing = tensors.get("centroids"), tensors.get("voiced")
    expected = (config["kmeans"]["k"], config["encoder"]["dim"])
    if centroids is None or centroids.shape != expected:
        found = "none" if centroids is None else list(centroids.shape)
        raise UserError(f"{path}: centroids are {found}, expected {list(expected)} (kmeans.k, encoder.dim)")
    if voicing is not None and voicing.shape != expected[:1]:
        raise UserError(f"{path}: voiced is {list(voicing.shape)}, expected {list(expected[:1])} (kmeans.k)")
    return centroids, voicing
