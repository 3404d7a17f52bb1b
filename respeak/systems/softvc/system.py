"""Soft-VC: recordings of any length converted to one voice (or one of a table), step by step or at once.

What follows the source is the content of its units and their timing; the voice, and with it the melody, is the
acoustic model's own (van Niekerk et al. 2022, section 2).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from respeak.bundle import ENCODER
from respeak.encoders.unit_encoder import UnitEncoder, conditioning_of, find_device, pieces
from respeak.systems.base import Control, Manner, Rendering, Stream, System, Task, named_controls
from respeak.systems.softvc import rendering
from respeak.systems.softvc.bundle import FILES, KEYS, SoftVCBundle, facts_of
from respeak.voices import Voice
from speech.errors import UserError
from speech.intonation import UNCHANGED, Intonation

if TYPE_CHECKING:
    from models.hifigan import Generator
    from models.softvc import AcousticModel
    from models.softvc.stepping import Precision

VOCODE_SECONDS = 10.0  # of audio at once; activations of the published width take 0.2 GB


class SoftVC(System):
    """A Soft-VC system: content encoder, acoustic model and vocoder.

    Args:
        bundle: as read by `respeak.systems.softvc.bundle.SoftVCBundle.load`.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.
        untrained_seed: draw the weights of acoustic model and vocoder afresh instead of the trained ones (a baseline).
        precision: of the acoustic model's weights while it runs, see ``AcousticModel.prepare``.
    """

    name = "softvc"
    takes = frozenset({Control.TARGET})
    tasks = frozenset({Task.VOCODE, Task.RESYNTHESIS, Task.CONVERSION})
    bundle_keys = KEYS
    bundle_files = FILES
    usual_bundle = "softvc-soft"
    own_files = (
        "stages/train_soft_units.py",
        "stages/soft_units.py",
        "stages/train_acoustic.py",
        "stages/train_vocoder.py",
        "stages/finetune_vocoder.py",
        "models/encoders/soft.py",
        "tests/golden/adapters/soft_vc.py",
    )

    def __init__(
        self,
        bundle: SoftVCBundle,
        device: str = "auto",
        untrained_seed: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        self.bundle, self.path = bundle, bundle.path
        self.device = find_device(device)
        self.precision: Precision = precision
        self.sample_rate: int = bundle.config["sample_rate"]
        self.unit_hop: int = bundle.config["unit_hop"]
        self.content_kind: str = bundle.config["content"]
        self._seed = untrained_seed
        self._encoder = _encoder_of(bundle, device)

    @classmethod
    def streams_of(cls, config: Mapping[str, Any], task: Task) -> frozenset[Stream]:
        """Return what `render` reads: discrete units, or recordings for the encoder or the vocoder to hear."""
        by_units = config["content"] == "units" and task is not Task.VOCODE
        return frozenset({Stream.UNITS if by_units else Stream.AUDIO})

    @classmethod
    def facts(cls, path: Path) -> dict[str, str]:
        """Return what ``respeak info`` prints: rates, encoder, content, speakers, licence; errors as `load`."""
        return facts_of(SoftVCBundle.load(path))

    @classmethod
    def unit_encoder(cls, path: Path, device: str = "auto") -> UnitEncoder:
        """Return the bundle's encoder, with its centres where the content is discrete units; errors as `load`."""
        return _encoder_of(SoftVCBundle.load(path), device)

    @classmethod
    def from_bundle(cls, path: Path, device: str = "auto", untrained_seed: int | None = None) -> SoftVC:
        """Load a bundle of this system; arguments and errors as `load`."""
        return cls(SoftVCBundle.load(path), device, untrained_seed)

    @property
    def speakers(self) -> list[str]:
        """Names of the voices."""
        return self.bundle.speakers

    def condition(self, wave: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
        """Prepare audio as the corpora were: 16 kHz, trimmed, peak-normalised, padded.

        Args:
            wave: (T,) float32 in [-1, 1].
            rate: of ``wave``, in Hz.

        Returns:
            (T16,) float32 at 16 kHz, T16 a multiple of ``audio.pad_multiple``, and the samples before padding.

        Raises:
            AudioError: nothing usable in it: silent, non-finite, too short.
        """
        made = self._encoder.condition(wave, rate)
        return made.wave, made.num_speech

    def content(self, wave: np.ndarray) -> np.ndarray:
        """Encode a recording to units ``(N,)`` uint16, or to soft units or features ``(N, D)`` float16.

        Args:
            wave: (T16,) float32 as `condition` returns it.
        """
        multiple = self.bundle.config["audio"]["pad_multiple"]
        frames = np.concatenate([self._encoder.features(piece)[own] for piece, own in pieces(wave, multiple)])
        return self._encoder.assign(frames) if self.content_kind == "units" else frames

    def mels(self, contents: Sequence[np.ndarray], speakers: Sequence[str]) -> list[np.ndarray]:
        """Predict log-mels ``(2 N, 128)`` float32 of several contents at once, each as it would be alone.

        Raises:
            UserError: an unknown speaker, a content of another kind, or none.
        """
        import torch

        if not self._acoustic.mask_padding and len(contents) > 1:  # the published norm hears padding
            return [self.mels([one], [name])[0] for one, name in zip(contents, speakers, strict=True)]
        rows = torch.tensor([self.speaker_index(name) for name in speakers], device=self.device)
        tensors = [self._tensor(content) for content in contents]
        lengths = torch.tensor([len(tensor) for tensor in tensors], device=self.device)
        padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True).to(self.device)
        predicted = self._acoustic.generate(padded, lengths, rows).float().cpu().numpy()
        frames = self._acoustic.frames_per_unit
        return [mel[: frames * len(tensor)] for mel, tensor in zip(predicted, tensors, strict=True)]

    def vocode(self, mel: np.ndarray) -> np.ndarray:
        """Synthesize audio ``(160 M,)`` float32 in [-1, 1] at 16 kHz from a log-mel ``(M, 128)``.

        It is made piece by piece, each with as much context as the network can see: the seams are none.
        """
        import torch

        from models.hifigan.reach import vocoder_reach
        from models.softvc import MEL

        reach = vocoder_reach(self._vocoder)
        step = round(VOCODE_SECONDS * MEL.sample_rate / MEL.hop)
        wave = np.empty(len(mel) * MEL.hop, dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(mel), step):
                stop = min(start + step, len(mel))
                low, high = max(start - reach, 0), min(stop + reach, len(mel))
                piece = torch.from_numpy(np.ascontiguousarray(mel[low:high].T, dtype=np.float32))[None]
                made = self._vocoder(piece.to(self.device))[0, 0].float().cpu().numpy()
                wave[start * MEL.hop : stop * MEL.hop] = made[(start - low) * MEL.hop :][: (stop - start) * MEL.hop]
        return wave

    def synthesize(self, content: np.ndarray, speaker: str) -> np.ndarray:
        """Synthesize audio ``(320 N,)`` float32 in [-1, 1] at 16 kHz from a content, in a voice of the system's."""
        return self.vocode(self.mels([content], [speaker])[0])

    def convert(
        self,
        wave: np.ndarray,
        rate: int,
        target: str | Voice | None = None,
        source: str | None = None,
        intonation: Intonation = UNCHANGED,
        melody: np.ndarray | None = None,
        units: np.ndarray | None = None,
    ) -> np.ndarray:
        """Convert a recording to a voice of the system's; other controls are refused. See `System.convert`."""
        self.require(named_controls(source, intonation, melody, units))
        voice = self.one_voice(target.name if isinstance(target, Voice) else target)
        conditioned, num_speech = self.condition(wave, rate)
        length = -(-num_speech // self.unit_hop)
        return self.synthesize(self.content(conditioned)[:length], voice)[:num_speech]

    def render(self, renderings: Sequence[Rendering], manner: Manner) -> Iterator[np.ndarray]:
        """Yield a waveform for each; mels of all are predicted at once, frame by frame."""
        return rendering.render(self, renderings, manner)

    def mel_of(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """Compute the log-mel ``(2 N, 128)`` float32 of a recording prepared as the corpora were, N units of speech.

        Raises:
            AudioError: the recording cannot be used.
        """
        import torch

        from models.softvc.mel import FRAMES_PER_UNIT, wave_to_mel

        made, num_speech = self.condition(wave, rate)
        frames = FRAMES_PER_UNIT * -(-num_speech // self.unit_hop)
        return wave_to_mel(torch.from_numpy(made)[None])[0].T[:frames].numpy()

    def check_content(self, content: np.ndarray) -> None:
        """Refuse what the acoustic model does not hear.

        Raises:
            UserError: nothing, units beyond the table, or frames of another shape.
        """
        config = self.bundle.config["acoustic"]
        if not len(content):
            raise UserError("no unit in it; is the recording shorter than 20 ms?")
        if config["num_units"]:
            whole = content.ndim == 1 and np.issubdtype(content.dtype, np.integer)
            if not whole or not 0 <= int(content.min()) <= int(content.max()) < config["num_units"]:
                found = f"{content.dtype} {content.shape}"
                raise UserError(f"expected units (N,) from 0 to {config['num_units'] - 1}, found {found}")
        elif content.ndim != 2 or content.shape[1] != config["unit_dim"]:
            raise UserError(f"expected frames (N, {config['unit_dim']}), found {content.shape}")

    def _tensor(self, content: np.ndarray) -> Any:
        import torch

        self.check_content(content)
        return torch.from_numpy(content.astype(np.int64 if content.ndim == 1 else np.float32))

    @functools.cached_property
    def _acoustic(self) -> AcousticModel:
        return self.bundle.acoustic(self._seed).to(self.device).prepare(self.precision)

    @functools.cached_property
    def _vocoder(self) -> Generator:
        return self.bundle.vocoder(self._seed).to(self.device).prepare()


def _encoder_of(bundle: SoftVCBundle, device: str) -> UnitEncoder:
    mode = (bundle.config.get("kmeans") or {}).get("normalise", "none")
    settings = conditioning_of(bundle.config["audio"])
    return UnitEncoder(bundle.path / ENCODER, bundle.centroids, mode, find_device(device), settings)
