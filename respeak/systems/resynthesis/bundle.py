"""The resynthesis system on disk.

systems/<name>/config.yaml              what every bundle has, and unit_hop, f0_hop, kmeans, f0, model
model.safetensors        generator weights, the F0 quantiser under ``quantizer.``
centroids.safetensors    k-means centres ``centroids`` (K, D) float32, optional ``voiced`` (K,)
speakers.json            F0 statistics by speaker name
vectors.safetensors      optional: mean d-vector (256,) float32 by speaker name
frame_stats.safetensors  optional: mean and deviation (2, D) of encoder frames by speaker name
encoder/                 the content encoder, held to ``config.encoder.hash``
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from respeak.bundle import (
    CENTROIDS,
    ENCODER,
    HEARING,
    check_encoder,
    common_facts,
    origin,
    read_config,
    require_files,
    write_config,
)
from respeak.folders import CONFIG, building, check_shapes, read_tensors, save_state, shapes
from speech.errors import UserError

if TYPE_CHECKING:
    import torch

    from models.resynthesis import UnitGenerator

NAME = "resynthesis"
MODEL, SPEAKERS = "model.safetensors", "speakers.json"
VECTORS, FRAME_STATS = "vectors.safetensors", "frame_stats.safetensors"
FILES = (MODEL, CENTROIDS, SPEAKERS, f"{ENCODER}/{CONFIG}")
KEYS: dict[str, tuple[type, ...]] = {
    **HEARING,
    "f0_hop": (int,),
    "kmeans.k": (int,),
    "kmeans.normalise": (str,),
    "f0.method": (str,),
    "f0.floor_hz": (int, float),
    "f0.ceil_hz": (int, float),
    "f0.normalise": (str,),
    "model": (dict,),
}
UNTRAINED_KEEPS = ("quantizer.", "speaker_f0")


@dataclass(frozen=True)
class ResynthesisBundle:
    """A checked bundle.

    Attributes:
        path: its folder.
        config: ``config.yaml`` as read.
        speakers: F0 statistics (``{"hz": {"mean", "std"}, "log": {...}, "voiced_frames"}``) by name, in the order of
            the speaker embedding's rows.
        centroids: (K, D) float32.
        vectors: mean d-vectors (256,) float32 by name; empty where the bundle has none.
        frame_stats: mean and deviation (2, D) float32 of encoder frames by name; empty where the bundle has none.
        voicing: (K,) float32, how often a unit is voiced; None where the bundle does not state it.
    """

    path: Path
    config: dict[str, Any]
    speakers: dict[str, dict[str, Any]]
    centroids: np.ndarray
    vectors: dict[str, np.ndarray]
    frame_stats: dict[str, np.ndarray]
    voicing: np.ndarray | None = None

    @classmethod
    def load(cls, directory: Path | str) -> ResynthesisBundle:
        """Read and check every file; weights are compared by name and shape and read by `generator`.

        Raises:
            UserError: a file is missing or damaged, the format version or system is another one, the encoder is not
                the one the bundle was trained with, or weights do not fit the configuration.
        """
        path = Path(directory)
        if not path.is_dir():
            raise UserError(f"{path}: no such system bundle; train one, or give the folder that holds {CONFIG}")
        require_files(path, (CONFIG,))
        config = read_config(path, NAME)
        require_files(path, FILES)
        check_encoder(path, config)
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
        """Build the generator with its weights, in eval mode on the CPU.

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


def save_resynthesis(
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
        voicing: (K,) how often a unit is voiced, 0 to 1, for synthesis from units alone.

    Raises:
        UserError: what is given would not load again.
    """
    from safetensors.numpy import save_file as save_arrays

    units = {"centroids": centroids} if voicing is None else {"centroids": centroids, "voiced": voicing}
    with building(Path(directory)) as made:
        save_state(made / MODEL, state)
        save_arrays({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in units.items()}, made / CENTROIDS)
        for name, arrays in ((VECTORS, vectors), (FRAME_STATS, frame_stats)):
            if arrays:
                save_arrays({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in arrays.items()}, made / name)
        (made / SPEAKERS).write_text(json.dumps(dict(speakers), indent=1, ensure_ascii=False) + "\n")
        write_config(made, NAME, {**config, "speakers": list(speakers)}, encoder_dir)
        ResynthesisBundle.load(made)


def facts_of(bundle: ResynthesisBundle) -> dict[str, str]:
    """Return what ``respeak info`` prints of a bundle, by topic."""
    config = bundle.config
    rate, f0 = config["sample_rate"], config["f0"]
    hz = {name: stats["hz"] for name, stats in bundle.speakers.items()}
    speakers = ", ".join(f"{name} ({value['mean']:.0f} ± {value['std']:.0f} Hz)" for name, value in hz.items())
    return {
        **common_facts(config),
        "units": f"{config['kmeans']['k']} at {rate / config['unit_hop']:g} per second",
        "f0": f"{f0['method']}, {f0['floor_hz']:g} to {f0['ceil_hz']:g} Hz, z-scored in {f0['normalise']}, "
        f"{rate / config['f0_hop']:g} frames per second",
        "weights": f"{bundle.num_weights / 1e6:.2f} million",
        "speakers": f"{len(hz)}: {speakers}",
        "voices": "any recording's, by d-vector" if config["model"].get("speaker_dim") else "these speakers'",
        **origin(config),
    }


def _build_model(config: Mapping[str, Any]) -> UnitGenerator:
    from models.resynthesis import UnitGenerator

    try:
        return UnitGenerator(**config["model"])
    except (TypeError, ValueError) as error:
        raise UserError(f"{CONFIG}: model: {' '.join(str(error).split())}; the bundle is of another version") from None


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
