"""The costs of each stage at given parameters, by its facts: processor time, training time, disk, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.planning.step_benchmark import device, time_speed, time_step
from stages.facts import all_facts, all_systems
from stages.facts.scene import Scene
from stages.params.whole import Params

START_SECONDS = 4.0  # of a stage and its workers, before work begins
TRAINING_BYTES = 0.8e9  # Python, torch and Lightning
CHECKPOINT_BYTES = 4 + 12  # per weight: the result; the weight with Adam's moments


@dataclass(frozen=True)
class Cost:
    """The cost of one stage.

    Attributes:
        shards: processor-seconds that are divided among workers.
        training: seconds on the GPU, or processor-seconds of one thread.
        flops: floating-point operations of training.
        disk: bytes that stay.
        memory: bytes of the machine's memory, at most.
        device: bytes of a training step: weights, optimiser, activations.
    """

    shards: float = 0.0
    training: float = 0.0
    flops: float = 0.0
    disk: float = 0.0
    memory: float = 0.0
    device: float = 0.0


def open_scene(root: Path, params: Params) -> Scene:
    """Return the project at ``params`` on this machine, where networks are tried."""
    return Scene(root, params, time_step=time_step, time_speed=time_speed)


def cost(scene: Scene, stage: str) -> Cost | None:
    """Return what a stage, ``units@demo``, takes; None where nobody has stated it."""
    name, _, variant = stage.partition("@")
    facts = all_facts().get(name)
    if facts is None or not _is_timed(scene, name, variant):
        return None
    phases = [(phase.steps, scene.step(phase.trial)) for phase in facts.training(scene, variant) if phase.steps]
    largest = max((step.memory for _, step in phases), default=0.0)
    memory = TRAINING_BYTES + (0 if device() == "cuda" else largest) if phases else facts.memory(scene, variant)
    return Cost(
        shards=facts.work(scene, variant),
        training=sum(steps * step.seconds for steps, step in phases),
        flops=sum(steps * step.flops for steps, step in phases),
        disk=facts.disk(scene, variant) + max((step.weights for _, step in phases), default=0) * CHECKPOINT_BYTES,
        memory=memory,
        device=largest,
    )


def _is_timed(scene: Scene, name: str, variant: str) -> bool:
    """Return whether the system of an experiment states how its synthesis is timed."""
    experiment = scene.params.experiments.get(variant) if name == "synthesize" else None
    return experiment is None or experiment.task == "copy" or experiment.system in all_systems()


def hours(cost: Cost, params: Params) -> float:
    """Return hours of wall time, with nothing beside it."""
    # Two threads train the demo 1.4 times as fast as one.
    trained = cost.training / (1 if device() == "cuda" else params.runtime.threads**0.5)
    return (cost.shards / params.runtime.workers + trained + START_SECONDS) / 3600


def total(costs: Sequence[Cost]) -> Cost:
    """Return sums; of memory the most."""
    return Cost(
        shards=sum(c.shards for c in costs),
        training=sum(c.training for c in costs),
        flops=sum(c.flops for c in costs),
        disk=sum(c.disk for c in costs),
        memory=max((c.memory for c in costs), default=0.0),
        device=max((c.device for c in costs), default=0.0),
    )
