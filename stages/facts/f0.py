"""Facts of the stages that track pitch: ``f0``, ``f0_stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.facts.facts import Facts

if TYPE_CHECKING:
    from stages.facts.scene import Scene

F0_SPEED = {"dio": 130.0, "harvest": 4.7, "yaapt": 7.8}  # seconds of audio per processor-second
F0_BYTES = 800  # per second of audio


def f0_speed(scene: Scene) -> float:
    """Return seconds of audio per processor-second of the tracker in use."""
    return F0_SPEED[scene.params.f0.method]


STAGES = {
    "f0": Facts(
        work=lambda scene, corpus: scene.seconds(corpus) / f0_speed(scene),
        disk=lambda scene, corpus: scene.seconds(corpus) * F0_BYTES,
    ),
    "f0_stats": Facts(),
}
