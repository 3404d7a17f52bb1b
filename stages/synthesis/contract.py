"""An experiment held against what its system declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from respeak.systems.base import Control, Task
from respeak.systems.registry import find

if TYPE_CHECKING:
    from stages.params.experiments import Experiment


def check_experiment(experiment: Experiment) -> None:
    """Refuse an experiment that its system cannot do; no bundle is needed.

    Raises:
        UserError: no such system, a task that it does not have, or a control that it does not take.
    """
    kind = find(experiment.system)
    kind.require_task(Task(experiment.task))
    used = {
        Control.RECORDING: (experiment.voices == "unseen", "voices 'unseen'"),
        Control.DURATIONS: (experiment.units == "deduplicated", "units 'deduplicated'"),
        Control.MELODY: (experiment.melody == "other", "melody 'other'"),
        Control.PITCH: (experiment.semitones != 0, "semitones"),
        Control.PITCH_RANGE: (experiment.span != 1, "span"),
    }
    kind.require({control: called for control, (is_used, called) in used.items() if is_used})
