"""Soft-VC on disk: the folders that its stages leave, and the bundle made of them.

systems/softvc-<variant>/config.yaml            rates, encoder, content, audio, speakers, provenance
acoustic.safetensors   units to log-mels
vocoder.safetensors    log-mels to a waveform
centroids.safetensors  of discrete units
encoder/               the content encoder, held to ``config.encoder.hash``
"""

from __future__ import annotations

import shutil
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
from respeak.encoders.encoder_files import read_config as read_encoder_config
from respeak.folders import CONFIG, building, check_shapes, read_tensors, read_yaml
from speech.errors import UserError

if TYPE_CHECKING:
    import torch

    from models.hifigan import Discriminators, Generator
    from models.softvc import AcousticModel

ACOUSTIC, VOCODER = "acoustic.safetensors", "vocoder.safetensors"
MODEL, GENERATOR, DISCRIMINATORS = "model.safetensors", "generator.safetensors", "discriminators.safetensors"
NAME = "softvc"
FILES = (ACOUSTIC, VOCODER, f"{ENCODER}/{CONFIG}")
KEYS: dict[str, tuple[type, ...]] = {**HEARING, "content": (str,), "acoustic": (dict,), "vocoder": (dict,)}
CONTENTS = ("units", "soft_units", "features")


def load_acoustic(directory: Path | str) -> tuple[AcousticModel, dict[str, Any]]:
    """Read the acoustic model of stage ``train_acoustic``, in evaluation mode, and its configuration.

    Raises:
        UserError: a file is missing or damaged, or weights do not fit the configuration.
    """
    config = read_yaml(Path(directory) / CONFIG)
    return build_acoustic(config["model"], Path(directory) / MODEL), config


def load_vocoder(directory: Path | str) -> tuple[Generator, Discriminators, dict[str, Any]]:
    """Read generator and discriminators of ``train_vocoder`` or ``finetune_vocoder``; errors as `load_acoustic`."""
    from models.hifigan import Discriminators

    directory = Path(directory)
    config = read_yaml(directory / CONFIG)
    discriminators = Discriminators(**config["discriminator"])
    _fill(discriminators, directory / DISCRIMINATORS)
    return build_vocoder(config["generator"], directory / GENERATOR), discriminators, config


def build_acoustic(sizes: Mapping[str, Any], weights: Path | None, seed: int = 0) -> AcousticModel:
    """Build an acoustic model with weights from a file, or drawn from ``seed``."""
    from models.softvc import AcousticModel

    return _build(lambda: AcousticModel(**sizes), weights, seed)


def build_vocoder(sizes: Mapping[str, Any], weights: Path | None, seed: int = 0) -> Generator:
    """Build a vocoder with weights from a file, or drawn from ``seed``."""
    from models.softvc import Vocoder

    return _build(lambda: Vocoder(**sizes), weights, seed)


def _build(make: Any, weights: Path | None, seed: int) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            module = make()
        except (TypeError, ValueError) as error:
            raise UserError(f"{CONFIG}: {' '.join(str(error).split())}; made by another version") from None
    if weights is not None:
        _fill(module, weights)
    return module.eval()


def _fill(module: torch.nn.Module, weights: Path) -> None:
    import torch

    tensors = read_tensors(weights)
    check_shapes(weights, {name: list(value.shape) for name, value in module.state_dict().items()})
    module.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})


@dataclass(frozen=True)
class SoftVCBundle:
    """A checked bundle.

    Attributes:
        path: its folder.
        config: ``config.yaml`` as read.
        centroids: (K, D) float32 of a system of discrete units; None of another.
    """

    path: Path
    config: dict[str, Any]
    centroids: np.ndarray | None

    @classmethod
    def load(cls, directory: Path | str) -> SoftVCBundle:
        """Read and check a bundle; networks are built when they are asked for.

        Raises:
            UserError: a file is missing or damaged, another system's, or the encoder is not the bundle's own.
        """
        path = Path(directory)
        config = read_config(path, NAME)
        content = config["content"]
        if content not in CONTENTS:
            raise UserError(f"{path / CONFIG}: content: {content!r} is not one of {', '.join(CONTENTS)}")
        require_files(path, (*FILES, CENTROIDS) if content == "units" else FILES)
        check_encoder(path, config)
        centroids = read_tensors(path / CENTROIDS)["centroids"] if content == "units" else None
        return cls(path, config, centroids)

    @property
    def speakers(self) -> list[str]:
        """Names of the voices, in the order of the speaker table's rows; one where there is no table."""
        return list(self.config["speakers"])

    def acoustic(self, untrained_seed: int | None = None) -> AcousticModel:
        """Build the acoustic model on the CPU; with ``untrained_seed`` its weights are drawn afresh."""
        weights = self.path / ACOUSTIC if untrained_seed is None else None
        return build_acoustic(self.config["acoustic"], weights, untrained_seed or 0)

    def vocoder(self, untrained_seed: int | None = None) -> Generator:
        """Build the vocoder on the CPU; with ``untrained_seed`` its weights are drawn afresh."""
        weights = self.path / VOCODER if untrained_seed is None else None
        return build_vocoder(self.config["vocoder"], weights, untrained_seed or 0)


def facts_of(bundle: SoftVCBundle) -> dict[str, str]:
    """Return what ``respeak info`` prints of a bundle, by topic."""
    config, sizes = bundle.config, bundle.config["acoustic"]
    heard = f"{sizes['num_units']} units" if sizes["num_units"] else f"{sizes['unit_dim']} dimensions"
    return {
        **common_facts(config),
        "content": f"{config['content']}, {heard}, {config['sample_rate'] / config['unit_hop']:g} per second",
        "speakers": f"{len(bundle.speakers)}: {', '.join(bundle.speakers)}",
        **origin(config),
    }


def save_softvc(
    directory: Path | str,
    config: Mapping[str, Any],
    encoder_dir: Path | str,
    acoustic_dir: Path | str,
    vocoder_dir: Path | str,
    centroids: np.ndarray | None,
) -> None:
    """Write a bundle whole or not at all, replacing one that is there.

    Args:
        directory: where; its parent is made if missing.
        config: what ``config.yaml`` holds beside what is filled here: audio, kmeans, scale, licence, provenance.
        encoder_dir: folder of the content encoder, copied.
        acoustic_dir: what stage ``train_acoustic`` left.
        vocoder_dir: what stage ``train_vocoder`` or ``finetune_vocoder`` left.
        centroids: (K, D) float32 where the content is discrete units.

    Raises:
        UserError: parts that do not go together, or would not load again.
    """
    from safetensors.numpy import save_file

    acoustic = read_yaml(Path(acoustic_dir) / CONFIG)
    vocoder = read_yaml(Path(vocoder_dir) / CONFIG)
    encoder = read_encoder_config(encoder_dir)
    if acoustic["encoder"] != encoder["hash"]:
        raise UserError(
            f"{acoustic_dir}: trained on what encoder {acoustic['encoder'][:12]} hears; "
            f"{encoder_dir} is {encoder['hash'][:12]}"
        )
    with building(Path(directory)) as made:
        shutil.copy(Path(acoustic_dir) / MODEL, made / ACOUSTIC)
        shutil.copy(Path(vocoder_dir) / GENERATOR, made / VOCODER)
        if acoustic["content"] == "units":
            assert centroids is not None, "discrete units need their centres"
            save_file({"centroids": np.ascontiguousarray(centroids, dtype=np.float32)}, made / CENTROIDS)
        whole = {
            **config,
            "content": acoustic["content"],
            "acoustic": acoustic["model"],
            "vocoder": vocoder["generator"],
            "speakers": acoustic["speakers"],
        }
        write_config(made, NAME, whole, encoder_dir)
        bundle = SoftVCBundle.load(made)
        bundle.acoustic()
        bundle.vocoder()
