"""One run of a training loop: its settings, where it logs and checkpoints, and where an earlier try left it."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from speech.errors import UserError
from stages.runtime.jobs import CHECKPOINT as CHECKPOINT

if TYPE_CHECKING:
    from stages.params.runtime import Runtime
    from stages.params.training import Loop
    from stages.runtime.jobs import Job

FORMAT = 2
History = list[dict[str, float]]
"""Logged rows, each with its ``step``: one for each report and each validation."""


class Metrics(Protocol):
    """The part of the tracker that a training loop needs."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Record series at a true step."""


@dataclass(frozen=True)
class Run:
    """Everything that a training loop needs beside the network and its batches.

    Attributes:
        loop: steps, batch size, and how often it reports, validates and checkpoints.
        runtime: device and threads.
        tracker: where series go.
        scratch: folder of the checkpoint.
        notice: what to state of a checkpoint that is gone on from, if anything.
    """

    loop: Loop
    runtime: Runtime
    tracker: Metrics
    scratch: Path
    notice: str = ""

    @classmethod
    def of(cls, job: Job, loop: Loop, tracker: Metrics) -> Run:
        """Return the run of a stage's job, whose scratch folder keeps the checkpoint."""
        return cls(loop, job.runtime, tracker, job.scratch, job.code_notice())


@dataclass(frozen=True)
class Resumed:
    """The point where a run starts: the step to take next, and the checkpoint to take it from."""

    step: int
    state: dict[str, Any] | None


def resume_point(scratch: Path) -> Resumed:
    """Return the last checkpoint in ``scratch``; step 0 when there is none.

    Raises:
        UserError: the checkpoint is damaged, or of another format.
    """
    path = scratch / CHECKPOINT
    if not path.is_file():
        return Resumed(0, None)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path}: damaged checkpoint ({str(error).splitlines()[0][:80]}); delete it to start over"
        ) from None
    if state["format"] != FORMAT:
        raise UserError(
            f"{path}: checkpoint of format {state['format']}, this version reads {FORMAT}; delete it to start over"
        )
    return Resumed(int(state["step"]), state)
