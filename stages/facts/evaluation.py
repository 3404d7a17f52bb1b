"""Facts of the stages behind the systems: ``synthesize``, ``evaluate``, ``tables``, ``report``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.facts.corpora import AUDIO_SPEED, FLAC_BYTES, ROW_BYTES, SPEAKERS_SPEED
from stages.facts.f0 import f0_speed
from stages.facts.facts import PROCESS_BYTES, Facts

if TYPE_CHECKING:
    from stages.facts.scene import Scene
    from stages.params.whole import Params

# Seconds of audio per processor-second of pocketsphinx, with its own language model and with one of the corpus.
OPEN_SPEED, GRAMMAR_SPEED = 1.4, 38.0
PAGE_BYTES = 100_000  # of a table
NO_NETWORKS = {"none", "pocketsphinx", "resemblyzer", "stoi", "pesq", "mcd"}  # judges at home on the processor


def _synthesis_work(scene: Scene, experiment: str) -> float:
    """Return the processor-seconds of synthesis: those of reading and writing a copy, else of the experiment's system.

    Raises:
        KeyError: nobody has stated how that system is timed.
    """
    from stages.facts import all_systems

    spec, (seconds, _) = scene.params.experiments[experiment], scene.synthesized(experiment)
    if spec.task == "copy":
        return seconds / AUDIO_SPEED
    return seconds * sum(1 / scene.speed(trial) for trial in all_systems()[spec.system](scene, experiment))


def _evaluation_work(scene: Scene, experiment: str) -> float:
    words = OPEN_SPEED if scene.params.evaluate.asr.mode == "open" else GRAMMAR_SPEED
    return scene.synthesized(experiment)[0] * (1 / words + 1 / f0_speed(scene) + 1 / SPEAKERS_SPEED)


def _has_networks(params: Params, _: str) -> bool:
    """Return whether any of the judges is one that a GPU is for."""
    from respeak.judges.digit_judge import names_classifier

    judges = params.evaluate
    recognisers = {asr.judge for asr in (judges.asr, *judges.asr_of.values())}
    chosen = {*recognisers, judges.phonemes.judge, judges.speaker_judge, *judges.quality}
    return names_classifier(judges.digits) or not chosen <= NO_NETWORKS


def _two_processes(scene: Scene, _: str) -> float:
    return 2 * PROCESS_BYTES


STAGES = {
    "synthesize": Facts(
        wants_gpu=lambda params, experiment: params.experiments[experiment].task != "copy",
        work=_synthesis_work,
        memory=_two_processes,
        disk=lambda scene, experiment: scene.synthesized(experiment)[0] * FLAC_BYTES,
    ),
    "evaluate": Facts(
        wants_gpu=_has_networks,
        work=_evaluation_work,
        memory=_two_processes,
        disk=lambda scene, experiment: scene.synthesized(experiment)[1] * float(ROW_BYTES),
    ),
    "tables": Facts(disk=lambda scene, table: float(PAGE_BYTES)),
    "report": Facts(disk=lambda scene, _: 1e6 * scene.params.report.max_audio_mb * 4 / 3),
}
