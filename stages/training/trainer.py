"""Training of any network by a stage: true steps, checkpoints, resuming, in one process or several."""

from __future__ import annotations

from models.training import TrainingModule
from stages.data.batches import Batches
from stages.training.loop import fit_alone
from stages.training.parallel import fit_together
from stages.training.run import History, Run, resume_point


def fit(module: TrainingModule, batches: Batches, checks: Batches, run: Run) -> History:
    """Train from the run's last checkpoint, if any, up to ``run.loop.steps`` true steps.

    A checkpoint is written whole every ``checkpoint_every`` steps, and on SIGINT and SIGTERM before leaving.

    Args:
        module: the network and how it learns; afterwards with the trained weights.
        batches: of training, from step 0 to the last.
        checks: of one validation.
        run: settings, tracker and scratch folder.

    Returns:
        The logged rows, one per ``log_every`` steps and per validation.

    Raises:
        SystemExit: 128 + signal, after the step under way, when a signal asked to stop.
        UserError: training diverged, a checkpoint is damaged, or ``run.loop.processes`` cannot share this training.
        LostError: one of several processes is gone.
    """
    if run.loop.processes > 1 and resume_point(run.scratch).step < run.loop.steps:
        fit_together(module, batches, checks, run)
    return fit_alone(module, batches, checks, run)
