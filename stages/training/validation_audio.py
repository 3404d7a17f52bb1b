"""Audio and pictures of the first validation segments, recorded and as a trained vocoder synthesizes them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from speech.mel_spectrogram import log_mel
from stages.tracking.tracker import Tracker

SEGMENTS = 2
TITLES = ("recording", "generated")


class Synthesizer(Protocol):
    """A training module that synthesizes waveforms."""

    def generate(self, batch: dict[str, Tensor]) -> Tensor:
        """Return waveforms ``(B, 1, S)`` of a batch."""

    def cpu(self) -> Synthesizer:
        """Move the module to the CPU."""

    def eval(self) -> Synthesizer:
        """Set evaluation mode."""


def log_examples(tracker: Tracker, module: Synthesizer, batch: dict[str, Tensor]) -> None:
    """Log audio and, where matplotlib is installed, log-mels of a batch's first segments: ``audio`` ``(B, 1, S)``."""
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
