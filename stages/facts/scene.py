"""The scene that facts are asked about: the parameters, the sizes of their corpora, and how fast this machine is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.facts.corpus_sizes import Size, size_of

if TYPE_CHECKING:
    from stages.facts.trials import SpeedTrial, Step, StepTrial
    from stages.params.whole import Params

TEST_SHARE = 0.1  # of a corpus, in seconds


def _untried(trial: Any) -> Any:
    raise NotImplementedError(f"{trial.key}: nothing is tried here")


@dataclass(frozen=True)
class Scene:
    """The project at given parameters on this machine.

    ``time_step`` and ``time_speed`` try a network; what they return is kept in ``tried`` by the trial's key.
    """

    root: Path
    params: Params
    tried: dict[str, Any] = field(default_factory=dict)
    time_step: Callable[[StepTrial], Step] = _untried
    time_speed: Callable[[SpeedTrial], float] = _untried

    @cached_property
    def sizes(self) -> Mapping[str, Size | None]:
        """The size of every corpus, None where nothing tells."""
        return {name: size_of(self.root, name, corpus) for name, corpus in self.params.corpora.items()}

    def seconds(self, corpus: str) -> float:
        """Return the seconds of audio of a corpus; 0 where they are not known."""
        size = self.sizes[corpus]
        return size.seconds if size else 0.0

    def utterances(self, corpus: str) -> int:
        """Return the number of recordings of a corpus; 0 where it is not known."""
        size = self.sizes[corpus]
        return size.utterances if size else 0

    def synthesized(self, experiment: str) -> tuple[float, int]:
        """Return the seconds and the number of recordings that an experiment synthesizes."""
        params = self.params
        conversion = params.experiments[experiment].task == "conversion"
        times = params.synthesize.targets_per_utterance if conversion else 1
        source = params.source_of(experiment).name
        rows = self.utterances(source)
        count = times * min(params.synthesize.max_utterances, round(TEST_SHARE * rows))
        return count * self.seconds(source) / max(rows, 1), count

    def step(self, trial: StepTrial) -> Step:
        """Return what a training step takes, tried once."""
        return self._once(trial, self.time_step)  # type: ignore[no-any-return]

    def speed(self, trial: SpeedTrial) -> float:
        """Return seconds of audio per processor-second, tried once."""
        return float(self._once(trial, self.time_speed))

    def _once(self, trial: Any, attempt: Callable[[Any], Any]) -> Any:
        if trial.key not in self.tried:
            self.tried[trial.key] = attempt(trial)
        return self.tried[trial.key]
