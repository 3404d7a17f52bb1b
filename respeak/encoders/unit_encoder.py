"""Recordings to units: a content encoder and its centres, from a bundle or from the folders of the stages."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from respeak.folders import CONFIG, read_yaml
from speech.audio.waveforms import Conditioned, Conditioning
from speech.errors import UserError
from speech.rates import SAMPLE_RATE, UNIT_HOP
from speech.units import FrameNormaliser, assign, normaliser

if TYPE_CHECKING:
    import torch

    from models.encoders import ContentEncoder

# Longer recordings are analysed in pieces of this length; every corpus utterance is shorter, so it is analysed whole.
ANALYSE_SECONDS = 60.0
# Beyond the reach of a pitch tracker's or a frame-wise encoder's window, and of what attention gains from afar.
ANALYSE_CONTEXT_SECONDS = 1.28
ASSIGN_FRAMES = 16_384
# One window of the encoder: with less, there is no frame.
SHORTEST_SECONDS = 0.025
PAD_MULTIPLE = 1280  # samples; of a recording whose system states none
PEAK = 0.95
# How a recording is prepared where no system states it: whole, at the corpora's peak.
PLAIN = Conditioning(None, PEAK, PAD_MULTIPLE, SHORTEST_SECONDS, math.inf)


@dataclass(frozen=True)
class Spoken:
    """The units of a recording and when they begin.

    Attributes:
        units: (N,) uint16, one per 20 ms of what was kept of the recording; soft units or features (N, D) float16.
        start: seconds of the recording that were cut before the first unit.
    """

    units: np.ndarray
    start: float

    def times(self) -> np.ndarray:
        """Return (N,) float64: seconds from the start of the recording at which each unit begins."""
        return self.start + np.arange(len(self.units)) * (UNIT_HOP / SAMPLE_RATE)


@dataclass
class UnitEncoder:
    """An encoder and its centres; without centres it gives what the encoder hears, such as soft units.

    Attributes:
        encoder_dir: folder of the content encoder.
        centroids: (K, D) float32; None: frames are given as they are.
        normalise: what is taken out of frames before they are assigned: none, utterance or speaker.
        device: where the encoder runs.
        conditioning: how a recording is prepared.
        frame_stats: mean and deviation (2, D) of encoder frames by speaker name, for ``normalise: speaker``.
    """

    encoder_dir: Path
    centroids: np.ndarray | None
    normalise: Any
    device: torch.device
    conditioning: Conditioning
    frame_stats: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | str, encoder: Path | str | None = None, device: str = "auto") -> UnitEncoder:
        """Read a system's bundle, a folder of k-means centres as stage ``kmeans`` writes it, or an encoder's folder.

        Args:
            path: the bundle, the folder of centres, or that of an encoder whose frames are wanted (of soft units).
            encoder: folder of the encoder that the centres were fitted on; by default ``encoder`` beside ``path``.
            device: auto, cpu or cuda.

        Raises:
            UserError: something is missing or damaged, or encoder and centres do not belong together.
        """
        path = Path(path)
        stated = read_yaml(path / CONFIG) if (path / CONFIG).is_file() else {}
        if "system" in stated:
            from respeak.systems.registry import system_of

            return system_of(path).unit_encoder(path, device)
        if "kind" in stated:
            return cls(path, None, "none", find_device(device), PLAIN)
        centroids, config = _read_kmeans(path)
        encoder_dir = Path(encoder) if encoder is not None else path.parent / "encoder"
        from respeak.encoders.encoder_files import read_config

        found = read_config(encoder_dir)
        if config["encoder"] != found["hash"]:
            raise UserError(
                f"{path}: fitted on encoder {str(config['encoder'])[:12]}, but {encoder_dir} is {found['hash'][:12]}; "
                "give the folder of the right one (--encoder)"
            )
        return cls(encoder_dir, centroids, config["normalise"], find_device(device), PLAIN)

    def encode(self, wave: np.ndarray, rate: int, speaker: str | None = None) -> Spoken:
        """Encode a recording of any length to units.

        Args:
            wave: (T,) float32 in [-1, 1].
            rate: of ``wave``, in Hz.
            speaker: who speaks, where the bundle knows them and its k-means wants that; else the frames are
                normalised by the recording's own statistics.

        Raises:
            AudioError: nothing usable in it: silent, non-finite, too short.
        """
        made = self.condition(wave, rate)
        heard = made.wave
        step = self.conditioning.pad_multiple
        features = np.concatenate([self.features(piece)[own] for piece, own in pieces(heard, step)])
        units = features if self.centroids is None else self.assign(features, speaker)
        return Spoken(units[: -(-made.num_speech // UNIT_HOP)], made.trim_start_seconds)

    def named(self, spoken: Spoken) -> Spoken:
        """Return the same with discrete units: of soft ones the most probable of those that they were trained to name.

        Raises:
            UserError: the frames are those of an encoder that names no units.
        """
        import torch

        from models.encoders.soft import SoftHubert

        if spoken.units.ndim == 1:
            return spoken
        if not isinstance(self._encoder, SoftHubert):
            raise UserError(f"{self.encoder_dir}: its frames have no names; write them as .npy")
        frames = torch.from_numpy(spoken.units.astype(np.float32))[None].to(self.device)
        units = self._encoder.probabilities(frames)[0].argmax(-1).cpu().numpy().astype(np.uint16)
        return dataclasses.replace(spoken, units=units)

    def condition(self, wave: np.ndarray, rate: int) -> Conditioned:
        """Prepare a recording as its corpora were stored: 16 kHz, trimmed, peak-normalised, padded, in 16 bits.

        Corpora are stored so: heard in 16 bits, a recording has the units that it has there. Errors as `encode`.
        """
        from speech.audio.waveforms import condition, quantise

        made = condition(np.asarray(wave, dtype=np.float32), rate, self.conditioning)
        return dataclasses.replace(made, wave=quantise(made.wave).astype(np.float32) / np.float32(32768))

    def features(self, wave: np.ndarray) -> np.ndarray:
        """Compute encoder frames (T // 320, D) of (T,) samples at 16 kHz, float16 as the feature shards store them."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))[None].to(self.device)
            return self._encoder(batch)[0].cpu().numpy().astype(np.float16)

    def assign(self, features: np.ndarray, speaker: str | None = None) -> np.ndarray:
        """Assign units (N,) uint16 to all frames (N, D) of one recording."""
        assert self.centroids is not None, "frames are assigned to centres, and this encoder has none"
        stats = None if speaker is None else self.frame_stats.get(speaker)
        normalise = normaliser(self.normalise, features, None if stats is None else FrameNormaliser(stats[0], stats[1]))
        return np.concatenate(
            [
                assign(normalise(features[start : start + ASSIGN_FRAMES]), self.centroids)
                for start in range(0, len(features), ASSIGN_FRAMES)
            ]
        )

    @functools.cached_property
    def _encoder(self) -> ContentEncoder:
        from respeak.encoders.loading import load_encoder

        return load_encoder(self.encoder_dir).to(self.device).prepare()


def conditioning_of(audio: Mapping[str, Any]) -> Conditioning:
    """Return how a bundle prepares recordings, of any length, from the section ``audio`` of its configuration."""
    return Conditioning(audio["trim_db"], audio["normalise_peak"], audio["pad_multiple"], SHORTEST_SECONDS, math.inf)


def pieces(wave: np.ndarray, multiple: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Yield pieces of a long recording (T,) at 16 kHz with context, and the units of each that are its own.

    Pieces begin on multiples of ``multiple`` samples.
    """
    step, context = (
        multiple * round(seconds * SAMPLE_RATE / multiple) for seconds in (ANALYSE_SECONDS, ANALYSE_CONTEXT_SECONDS)
    )
    if len(wave) <= step:
        yield wave, slice(0, len(wave) // UNIT_HOP)
        return
    for start in range(0, len(wave), step):
        low, high = max(start - context, 0), min(start + step + context, len(wave))
        own = (start - low) // UNIT_HOP
        yield wave[low:high], slice(own, own + min(step, len(wave) - start) // UNIT_HOP)


def find_device(name: str) -> torch.device:
    """Return the device of a name: auto (a GPU where there is one), cpu or cuda.

    Raises:
        UserError: another name, or no GPU.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device '{name}' is not one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': this machine has no GPU that torch can use; choose cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _read_kmeans(directory: Path) -> tuple[np.ndarray, dict[str, Any]]:
    from respeak.encoders.centres import read_centres

    centres, config_path = directory / "centroids.safetensors", directory / "config.yaml"
    if not (centres.is_file() and config_path.is_file()):
        raise UserError(
            f"{directory}: neither a system's bundle nor k-means centres (centroids.safetensors and config.yaml)"
        )
    centroids, _ = read_centres(centres)
    try:
        config = yaml.safe_load(config_path.read_text(encoding="utf-8"))
        whole = (config["k"], config["dim"]) == centroids.shape and {"normalise", "encoder"} <= config.keys()
    except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"{config_path}: damaged configuration ({error}); make the centres again") from None
    if not whole:
        raise UserError(f"{directory}: config.yaml does not describe the centres; make them again")
    return centroids, config
