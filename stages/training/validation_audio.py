"""The first validation segments as a trained vocoder makes them, beside the recordings: to be heard and seen."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from speech.mel_spectrogram import log_mel
from stages.tracking.tracker import Tracker

SEGMENTS = 2
TITLES = ("recording", "generated")


class Vocoder(Protocol):
    """A training module that makes audio."""

    def generate(self, batch: dict[str, Tensor]) -> Tensor:
        """Waveforms ``(B, 1, S)`` of a batch."""

    def cpu(self) -> Vocoder:
        """The module on the CPU."""

    def eval(self) -> Vocoder:
        """The module as it is used."""


def log_examples(tracker: Tracker, module: Vocoder, batch: dict[str, Tensor]) -> None:
    """Audio and, where matplotlib is installed, log-mels of the first segments of a batch: ``audio`` ``(B, 1, S)``."""
    batch = {name: values[:SEGMENTS] for name, values in batch.items()}
    module.cpu().eval()
    with torch.no_grad():
        made = module.generate(batch)
    pairs = list(zip(batch["audio"], made, strict=True))
    for number, waves in enumerate(pairs):
        for title, wave in zip(TITLES, waves, strict=True):
            tracker.log_audio(f"{number}-{title}", wave.flatten().float().numpy())
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return
    figure = Figure(figsize=(10, 6), layout="constrained")
    for row, waves in zip(figure.subplots(len(pairs), 2, squeeze=False), pairs, strict=True):
        for axis, wave, title in zip(row, waves, TITLES, strict=True):
            axis.imshow(log_mel(wave)[0], origin="lower", aspect="auto", vmin=-11.5, vmax=1.5)
            axis.set(title=title, xlabel="frame of 16 ms", ylabel="mel band")
    tracker.log_figure("mel_target_and_generated.png", figure)
