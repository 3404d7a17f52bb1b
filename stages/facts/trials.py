"""Trials of networks: how a training step, or a piece of inference, is set up with random weights and noise.

Noise stands for speech because silence would be slow: its numbers become denormal. Whoever measures
(:mod:`flows.planning.step_benchmark`) calls what is declared here; until then nothing imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from speech.rates import F0_HOP, UNIT_HOP

if TYPE_CHECKING:
    from torch import Tensor

    from models.training import TrainingModule

MANY_SPEAKERS = 128  # rows of a table that costs next to nothing

Batch = dict[str, "Tensor"]


class Sizes(Protocol):
    """The part of a training loop's parameters that a step's cost hangs on."""

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        ...

    @property
    def segment_samples(self) -> int:
        """Samples of a row."""
        ...


@dataclass(frozen=True)
class Step:
    """One training step: (processor-)seconds, floating-point operations, bytes of weights, Adam and activations.

    ``weights`` counts the numbers that are trained.
    """

    seconds: float
    flops: float
    memory: float
    weights: int


def segments(sizes: Sizes, rows: int) -> Batch:
    """Return rows of what most systems are trained on: audio ``(rows, 1, T)``, units ``(rows, T / 320)``, F0."""
    import torch

    samples = sizes.segment_samples
    return {
        "audio": 0.1 * torch.randn(rows, 1, samples),
        "units": torch.randint(2, (rows, samples // UNIT_HOP)),
        "f0": torch.randn(rows, 1, samples // F0_HOP),
        "speaker": torch.zeros(rows, dtype=torch.int64),
    }


@dataclass(frozen=True)
class StepTrial:
    """A training step to be tried.

    Attributes:
        key: names it; two trials of one key take the same.
        module: builds the network with its losses and optimisers.
        sizes: of a batch.
        step: the true step that the module believes to be at, where its work changes with that.
        batch: makes a batch of so many rows, on the processor.
    """

    key: str
    module: Callable[[], TrainingModule]
    sizes: Sizes
    step: int = 0
    batch: Callable[[Sizes, int], Batch] = segments


@dataclass(frozen=True)
class SpeedTrial:
    """A piece of inference to be timed.

    Attributes:
        key: names it, as above.
        seconds: of audio that one call makes or reads.
        prepare: sets everything up on a device and returns the call.
    """

    key: str
    seconds: float
    prepare: Callable[[str], Callable[[], Any]]
