"""Soft-VC as a person uses it: recordings of any length to one voice (or one of a table), step by step or at once.

What follows the source is what its units say and when; the voice, and with it the melody, is the acoustic model's own
(van Niekerk et al. 2022, section 2).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from respeak.bundle import ENCODER
from respeak.encoders.unit_encoder import UnitEncoder, conditioning_of, find_device, pieces
from respeak.systems.resynthesis.receptive_field import vocoder_reach
from respeak.systems.softvc.bundle import SoftVCBundle
from speech.errors import UserError, some_of

if TYPE_CHECKING:
    from models.hifigan import Generator
    from models.softvc import AcousticModel
    from models.softvc.stepping import Precision

VOCODE_SECONDS = 10.0  # of audio at once; activations of the published width take 0.2 GB


class SoftVC:
    """A Soft-VC system: content encoder, acoustic model and vocoder.

    Args:
        bundle: as read by `respeak.systems.softvc.bundle.SoftVCBundle.load`.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.
        untrained_seed: draw the weights of acoustic model and vocoder afresh instead of the trained ones (a baseline).
        precision: of the acoustic model's weights while it runs, see ``AcousticModel.prepare``.
    """

    def __init__(
        self,
        bundle: SoftVCBundle,
        device: str = "auto",
        untrained_seed: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        self.bundle = bundle
        self.device = find_device(device)
        self.precision: Precision = precision
        self.sample_rate: int = bundle.config["sample_rate"]
        self.unit_hop: int = bundle.config["unit_hop"]
        self.content_kind: str = bundle.config["content"]
        self._seed = untrained_seed
        mode = (bundle.config.get("kmeans") or {}).get("normalise", "none")
        settings = conditioning_of(bundle.config["audio"])
        self._encoder = UnitEncoder(bundle.path / ENCODER, bundle.centroids, mode, self.device, settings)

    @classmethod
    def load(cls, path: Path | str, device: str = "auto") -> SoftVC:
        """Read a bundle.

        Raises:
            UserError: it is missing, damaged or of another kind, or the device is not there.
        """
        return cls(SoftVCBundle.load(path), device)

    @property
    def speakers(self) -> list[str]:
        """Names of the voices."""
        return self.bundle.speakers

    def speaker_index(self, name: str) -> int:
        """Row of the speaker table.

        Raises:
            UserError: the system has no such voice; lists those it has.
        """
        if name not in self.speakers:
            raise UserError(f"speaker '{name}' is not in {self.bundle.path}; it has {some_of(self.speakers)}")
        return self.speakers.index(name)

    def one_voice(self, name: str | None) -> str:
        """The voice of that name, or the system's only one.

        Raises:
            UserError: no such voice, or none named where there are several.
        """
        if name is None and len(self.speakers) > 1:
            raise UserError(f"say which voice (--target): {', '.join(self.speakers)}")
        voice = name or self.speakers[0]
        self.speaker_index(voice)
        return voice

    def condition(self, wave: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
        """Prepare audio as the corpora were; arguments, result and errors as the resynthesis
        system's ``condition``.
        """
        made = self._encoder.condition(wave, rate)
        return made.wave, made.num_speech

    def content(self, wave: np.ndarray) -> np.ndarray:
        """What a recording says: units ``(N,)`` uint16, or soft units or features ``(N, D)`` float16.

        Args:
            wave: (T16,) float32 as `condition` returns it.
        """
        multiple = self.bundle.config["audio"]["pad_multiple"]
        frames = np.concatenate([self._encoder.features(piece)[own] for piece, own in pieces(wave, multiple)])
        return self._encoder.assign(frames) if self.content_kind == "units" else frames

    def mels(self, contents: Sequence[np.ndarray], speakers: Sequence[str]) -> list[np.ndarray]:
        """Log-mels ``(2 N, 128)`` float32 of several contents at once, each as it would be alone.

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
        said = self._acoustic.generate(padded, lengths, rows).float().cpu().numpy()
        frames = self._acoustic.frames_per_unit
        return [mel[: frames * len(tensor)] for mel, tensor in zip(said, tensors, strict=True)]

    def vocode(self, mel: np.ndarray) -> np.ndarray:
        """Audio ``(160 M,)`` float32 in [-1, 1] at 16 kHz of a log-mel ``(M, 128)``.

        It is made piece by piece, each with as much context as the network can see: the seams are none.
        """
        import torch

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

    def say(self, content: np.ndarray, speaker: str) -> np.ndarray:
        """Audio ``(320 N,)`` float32 in [-1, 1] at 16 kHz of a content, in a voice of the system's."""
        return self.vocode(self.mels([content], [speaker])[0])

    def convert(self, wave: np.ndarray, rate: int, target: str, source: str | None = None) -> np.ndarray:
        """Say a recording in the voice of ``target``.

        Args:
            wave: (T,) float32 in [-1, 1].
            rate: of ``wave``, in Hz.
            target: the voice.
            source: not needed: whoever speaks, the units are to say the same.

        Returns:
            (T',) float32 in [-1, 1] at 16 kHz, as long as the conditioned input before padding.

        Raises:
            AudioError: the recording cannot be used.
            UserError: the voice is unknown.
        """
        self.speaker_index(target)
        conditioned, num_speech = self.condition(wave, rate)
        units = -(-num_speech // self.unit_hop)
        return self.say(self.content(conditioned)[:units], target)[:num_speech]

    def resynthesize(self, wave: np.ndarray, rate: int, speaker: str | None = None) -> np.ndarray:
        """Say a recording again in the voice of ``speaker``, one of the system's; otherwise as `convert`.

        Raises:
            UserError: no voice named, and more than one to choose from.
        """
        return self.convert(wave, rate, self.one_voice(speaker))

    def mel_of(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """Log-mel ``(2 N, 128)`` float32 of a recording itself, prepared as the corpora were, N units of speech.

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
