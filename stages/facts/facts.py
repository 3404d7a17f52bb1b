"""The facts that a stage is known by before it runs: whether it trains, wants a GPU, and what it takes and lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.facts.scene import Scene
    from stages.facts.trials import SpeedTrial, StepTrial
    from stages.params.whole import Params

PROCESS_BYTES = 0.4e9  # of a worker of a data stage

Growth = Callable[["Scene", str], float]  # of a variant in a scene
Systems = Mapping[str, Callable[["Scene", str], "Sequence[SpeedTrial]"]]


@dataclass(frozen=True)
class Phase:
    """A part of a training: how many steps there are of a kind, and how one of them is tried."""

    steps: int
    trial: StepTrial


def _nothing(scene: Scene, variant: str) -> float:
    return 0.0


def _one_process(scene: Scene, variant: str) -> float:
    return PROCESS_BYTES


def _no_phase(scene: Scene, variant: str) -> Sequence[Phase]:
    return ()


def _on_processor(params: Params, variant: str) -> bool:
    return False


def on_gpu(params: Params, variant: str) -> bool:
    """Return True: what a stage does that puts all of its work on ``runtime.device``."""
    return True


def _no_lack(scene: Scene, variant: str) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Facts:
    """The facts of one stage; each function is given the variant, ``demo`` of ``units@demo``.

    Attributes:
        trains: its own process computes with ``runtime.threads``, on which its numbers depend in the last bits (others
            compute with one thread, whatever that is), and it can be packed for a GPU machine.
        wants_gpu: whether it works on ``runtime.device``, where that may be a GPU.
        work: processor-seconds, which are divided among workers.
        memory: bytes of one process at most; those of a training step are counted apart.
        disk: bytes that stay, weights that training makes apart.
        training: the phases of its training.
        missing: in words, what it would lack once it ran, as a corpus or the digest of public weights.
    """

    trains: bool = False
    wants_gpu: Callable[[Params, str], bool] = _on_processor
    work: Growth = _nothing
    memory: Growth = _one_process
    disk: Growth = _nothing
    training: Callable[[Scene, str], Sequence[Phase]] = _no_phase
    missing: Callable[[Scene, str], Iterable[str]] = _no_lack


def training(phases: Callable[[Scene, str], Sequence[Phase]]) -> Facts:
    """Return the facts of a stage that trains in ``phases`` and does nothing else."""
    return Facts(trains=True, wants_gpu=on_gpu, training=phases)
