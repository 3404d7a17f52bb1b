"""What each stage takes at given parameters: processor time, training time, disk, memory.

Speeds of the data stages are measured ones (``benchmarks/throughput.py``: one thread of a 2-core server, its processor
time alone); networks are tried on this machine (:mod:`flows.planning.step_benchmark`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from flows.planning import step_benchmark
from flows.planning.preflight import FRAMES_PER_SECOND, SIGNAL_DIMS, Scene, disk
from stages.params.whole import Params

# Seconds of audio per processor-second.
AUDIO_SPEED, SPEAKERS_SPEED = 800.0, 90.0
F0_SPEED = {"dio": 130.0, "harvest": 4.7, "yaapt": 7.8}
OPEN_SPEED, GRAMMAR_SPEED = 1.4, 38.0  # of pocketsphinx with its own language model, and with one of the corpus
KMEANS_RATE = 5e10  # frames times dimensions times centres per processor-second
LISTED_PER_SECOND = 300  # recordings
START_SECONDS = 4.0  # of a stage and its workers, before work begins
PROCESS_BYTES, TRAINING_BYTES = 0.4e9, 0.8e9  # a worker of a data stage; Python, torch and Lightning
CHECKPOINT_BYTES = 4 + 12  # per weight: the result; the weight with Adam's moments
TRAIN_SHARE = 0.8


@dataclass(frozen=True)
class Cost:
    """Of one stage.

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
    memory: float = PROCESS_BYTES
    device: float = 0.0


def cost(scene: Scene, stage: str) -> Cost | None:
    """What a stage, ``units@demo``, takes; None where nothing is known of it."""
    name, _, variant = stage.partition("@")
    if name not in ESTIMATES:
        return None
    found = ESTIMATES[name](scene, variant)
    return replace(found, disk=found.disk + disk(scene, stage))


def hours(cost: Cost, params: Params) -> float:
    """Of wall time, with nothing beside it."""
    # Two threads train the demo 1.4 times as fast as one.
    trained = cost.training / (1 if step_benchmark.device() == "cuda" else params.runtime.threads**0.5)
    return (cost.shards / params.runtime.workers + trained + START_SECONDS) / 3600


def total(costs: Sequence[Cost]) -> Cost:
    """Sums; of memory the most."""
    return Cost(
        shards=sum(c.shards for c in costs),
        training=sum(c.training for c in costs),
        flops=sum(c.flops for c in costs),
        disk=sum(c.disk for c in costs),
        memory=max((c.memory for c in costs), default=0.0),
        device=max((c.device for c in costs), default=0.0),
    )


def _corpus(scene: Scene, corpus: str) -> Cost:
    return Cost(shards=scene.utterances(corpus) / LISTED_PER_SECOND)


def _audio(scene: Scene, corpus: str) -> Cost:
    return Cost(shards=scene.seconds(corpus) / AUDIO_SPEED)


def _encoder_speed(scene: Scene) -> float:
    encoder, batch = scene.params.encoder, scene.params.features.batch_seconds
    trial = lambda: step_benchmark.encoder_speed(encoder.kind, encoder.layer, scene.encoder_options, batch)  # noqa: E731
    return float(scene.once("encoder", trial))


def _features(scene: Scene, corpus: str) -> Cost:
    kept = scene.seconds(corpus) * scene.params.features.keep
    return Cost(shards=kept / _encoder_speed(scene), memory=3 * PROCESS_BYTES)


def _kmeans(scene: Scene, _: str) -> Cost:
    settings, seconds = scene.params.kmeans, scene.seconds(scene.params.roles.encoder) * scene.params.features.keep
    if settings.source != "fit":
        return Cost()
    frames = TRAIN_SHARE * seconds * FRAMES_PER_SECOND * settings.passes
    held = 4.0 * scene.dim * (settings.init_frames + 5 * settings.batch_frames)
    return Cost(shards=frames * settings.k * scene.dim / KMEANS_RATE, memory=PROCESS_BYTES + held)


def _units(scene: Scene, corpus: str) -> Cost:
    seconds = scene.seconds(corpus)
    if scene.params.features.keep < 1:
        return Cost(shards=seconds / _encoder_speed(scene))
    return Cost(shards=seconds * FRAMES_PER_SECOND * scene.params.kmeans.k * scene.dim / KMEANS_RATE)


def _unit_quality(scene: Scene, _: str) -> Cost:
    spec, one = scene.params.unit_quality, _kmeans(scene, "")
    fits = len(spec.normalise) * (1 + len(spec.baselines)) * sum(spec.k) / scene.params.kmeans.k
    return replace(one, shards=one.shards * fits)


def _f0(scene: Scene, corpus: str) -> Cost:
    return Cost(shards=scene.seconds(corpus) / F0_SPEED[scene.params.f0.method])


def _speakers(scene: Scene, corpus: str) -> Cost:
    return Cost(shards=scene.seconds(corpus) / SPEAKERS_SPEED, memory=2 * PROCESS_BYTES)


def _soft_units(scene: Scene, corpus: str) -> Cost:
    return Cost(shards=scene.seconds(corpus) / _encoder_speed(scene), memory=3 * PROCESS_BYTES)


def _synthesize(scene: Scene, name: str) -> Cost:
    params, (seconds, _) = scene.params, scene.spoken(name)
    if params.experiments[name].task == "copy":
        return Cost(shards=seconds / AUDIO_SPEED)
    trial = lambda: step_benchmark.vocoder_speed(params.train_resynthesis, params.train_f0_vq, params.kmeans.k)  # noqa: E731
    return Cost(shards=seconds / float(scene.once("vocoder speed", trial)), memory=2 * PROCESS_BYTES)


def _evaluate(scene: Scene, name: str) -> Cost:
    seconds, _ = scene.spoken(name)
    words = OPEN_SPEED if scene.params.evaluate.asr.mode == "open" else GRAMMAR_SPEED
    each = 1 / words + 1 / F0_SPEED[scene.params.f0.method] + 1 / SPEAKERS_SPEED
    return Cost(shards=seconds * each, memory=2 * PROCESS_BYTES)


def _trained(
    steps: float, step: step_benchmark.Step, warm_up: float = 0.0, before: step_benchmark.Step | None = None
) -> Cost:
    """``warm_up`` steps like ``before``, then ``steps`` like ``step``."""
    early = before or step
    return Cost(
        training=steps * step.seconds + warm_up * early.seconds,
        flops=steps * step.flops + warm_up * early.flops,
        disk=step.weights * float(CHECKPOINT_BYTES),
        memory=TRAINING_BYTES + (0 if step_benchmark.device() == "cuda" else step.memory),
        device=step.memory,
    )


def _pretrain(scene: Scene, name: str) -> Cost:
    spec = scene.params.pretrain
    step = scene.once("pretrain", lambda: step_benchmark.pretrain_step(spec, spec.iterations[name].k))
    return _trained(spec.iterations[name].steps, step)


def _train_f0_vq(scene: Scene, _: str) -> Cost:
    spec = scene.params.train_f0_vq
    return _trained(spec.loop.steps, scene.once("f0 vq", lambda: step_benchmark.f0_vq_step(spec)))


def _train_resynthesis(scene: Scene, _: str) -> Cost:
    spec, params = scene.params.train_resynthesis, scene.params
    trial = lambda: step_benchmark.vocoder_steps(spec, params.train_f0_vq, params.kmeans.k)  # noqa: E731
    before, after = scene.once("vocoder", trial)
    warm_up = min(spec.adversarial_from_step, spec.loop.steps)
    return _trained(spec.loop.steps - warm_up, after, warm_up, before)


def _train_soft_units(scene: Scene, _: str) -> Cost:
    spec, k = scene.params.train_soft_units, scene.params.kmeans.k
    sizes = spec.model if scene.params.encoder.kind in SIGNAL_DIMS else scene.encoder_options
    return _trained(spec.loop.steps, scene.once("soft units", lambda: step_benchmark.soft_units_step(spec, sizes, k)))


def _train_acoustic(scene: Scene, _: str) -> Cost:
    spec, k = scene.params.train_acoustic, scene.params.kmeans.k
    return _trained(spec.loop.steps, scene.once("acoustic", lambda: step_benchmark.acoustic_step(spec, k)))


def _train_vocoder(scene: Scene, _: str) -> Cost:
    spec = scene.params.train_vocoder
    return _trained(spec.loop.steps, scene.once("mel vocoder", lambda: step_benchmark.mel_vocoder_step(spec)))


def _finetune_vocoder(scene: Scene, _: str) -> Cost:
    spec, steps = scene.params.train_vocoder, scene.params.finetune_vocoder.loop.steps
    return _trained(steps, scene.once("mel vocoder", lambda: step_benchmark.mel_vocoder_step(spec)))


def _train_digit_classifier(scene: Scene, _: str) -> Cost:
    spec = scene.params.train_digit_classifier
    return _trained(spec.loop.steps, scene.once("digits", lambda: step_benchmark.digits_step(spec)))


def _little(scene: Scene, _: str) -> Cost:
    return Cost()


ESTIMATES: Mapping[str, Callable[[Scene, str], Cost]] = {
    "corpus": _corpus,
    "audio": _audio,
    "pretrain": _pretrain,
    "encoder": _little,
    "features": _features,
    "kmeans": _kmeans,
    "units": _units,
    "unit_quality": _unit_quality,
    "f0": _f0,
    "f0_stats": _little,
    "speakers": _speakers,
    "train_f0_vq": _train_f0_vq,
    "train_resynthesis": _train_resynthesis,
    "train_soft_units": _train_soft_units,
    "soft_units": _soft_units,
    "train_acoustic": _train_acoustic,
    "train_vocoder": _train_vocoder,
    "finetune_vocoder": _finetune_vocoder,
    "softvc": _little,
    "train_digit_classifier": _train_digit_classifier,
    "synthesize": _synthesize,
    "evaluate": _evaluate,
    "tables": _little,
    "report": _little,
}
