"""How long a training step takes here, and how much arithmetic and memory it is: a few steps of the real thing.

On this machine's GPU, in seconds; without one, in processor-seconds of one thread, which do not depend on what else
the machine does. Random weights, and noise for speech (silence would be slow: its numbers become denormal). A step is
tried with one segment first; the whole batch is tried where that is quick, else time, arithmetic and activations are
taken as so many times those of one segment.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from models.encoders import build_encoder
from models.encoders.hubert import Hubert
from models.encoders.soft import SoftHubert
from models.encoders.training import HubertTraining, LinearSchedule, MaskedPrediction, Masking
from models.hifigan import Discriminators
from models.judges.resnext import DigitClassifier
from models.judges.training import DigitTraining
from models.resynthesis import UnitGenerator
from models.resynthesis.f0_vq import F0VQVAE
from models.resynthesis.f0_vq_training import F0VQTraining
from models.resynthesis.vocoder_training import ResynthesisTraining
from models.softvc import MEL, AcousticModel, Vocoder
from models.softvc.acoustic_training import AcousticTraining
from models.softvc.soft_unit_training import SoftUnitTraining
from models.softvc.vocoder_training import VocoderTraining
from models.training import Schedule, TrainingModule
from stages.training.gan import loss_weights

if TYPE_CHECKING:
    from stages.params.digit_classifier import TrainDigitClassifier
    from stages.params.pretrain import Pretrain
    from stages.params.resynthesis import TrainF0VQ, TrainResynthesis
    from stages.params.softvc import TrainAcoustic, TrainSoftUnits, TrainVocoder
    from stages.params.training import Loop

BYTES_TRAINED = 16  # per weight: itself, its gradient, Adam's two moments, in float32
QUICK_SECONDS = 3.0  # a step that would take longer is not tried at its full batch
UNIT_HOP, F0_HOP, RATE = 320, 80, 16_000
MANY_SPEAKERS = 128  # rows of a table that costs next to nothing

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Step:
    """One training step: (processor-)seconds, floating-point operations, bytes of weights, Adam and activations.

    ``weights`` counts the numbers that are trained.
    """

    seconds: float
    flops: float
    memory: float
    weights: int


class _Alive:
    """Bytes that autograd holds for the backward pass, each storage once: now and at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._holders: Counter[int] = Counter()

    def pack(self, tensor: Tensor) -> _Held:
        storage = tensor.untyped_storage()
        if not self._holders[storage.data_ptr()]:
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
        self._holders[storage.data_ptr()] += 1
        return _Held(tensor, self)

    def release(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._holders[storage.data_ptr()] -= 1
        if not self._holders[storage.data_ptr()]:
            self.now -= storage.nbytes()


class _Held:
    """A saved tensor; autograd drops it once the backward pass has used it."""

    def __init__(self, tensor: Tensor, alive: _Alive) -> None:
        self.tensor, self.alive = tensor, alive

    def __del__(self) -> None:
        self.alive.release(self.tensor)


def device() -> str:
    """Where training would run here."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def vocoder_steps(spec: TrainResynthesis, f0_vq: TrainF0VQ, k: int) -> tuple[Step, Step]:
    """A step of ``train_resynthesis`` before the discriminators join, and after."""
    discriminators = Discriminators(**asdict(spec.discriminator))
    weights = loss_weights(spec.loss)
    module = ResynthesisTraining(_generator(spec, f0_vq, k), discriminators, weights, 1, Schedule(), 0)

    def at(step: int) -> Step:
        return measure(module, spec.loop, step)

    return at(0), at(1)


def f0_vq_step(spec: TrainF0VQ) -> Step:
    """A step of ``train_f0_vq``."""
    return measure(F0VQTraining(F0VQVAE(**asdict(spec.model)), spec.commit_weight, Schedule(), 0), spec.loop)


def pretrain_step(spec: Pretrain, k: int) -> Step:
    """A step of ``pretrain``."""
    layers = int(spec.model.get("layers", 12))
    encoder = build_encoder({"kind": "hubert", "layer": layers, "options": spec.model})
    assert isinstance(encoder, Hubert)
    model = MaskedPrediction(encoder.train().requires_grad_(True), k, spec.label_dim, spec.temperature)
    masking = Masking(spec.mask_starts, spec.mask_span)
    return measure(HubertTraining(model, masking, spec.unmasked_weight, LinearSchedule(), 0), spec.loop)


def soft_units_step(spec: TrainSoftUnits, sizes: Mapping[str, Any], k: int) -> Step:
    """A step of ``train_soft_units`` on a HuBERT of ``sizes``."""
    options = {"k": k, "label_dim": spec.label_dim, "temperature": spec.temperature, "hubert": dict(sizes)}
    model = build_encoder({"kind": "soft_hubert", "layer": 0, "options": options})
    assert isinstance(model, SoftHubert)
    module = SoftUnitTraining(model.train().requires_grad_(True), None, 0.0, Schedule(), 0)
    return measure(module, spec.loop)


def mel_vocoder_step(spec: TrainVocoder) -> Step:
    """A step of ``train_vocoder`` or ``finetune_vocoder``, with discriminators."""
    generator: Any = Vocoder(**asdict(spec.generator))
    weights = loss_weights(spec.loss)
    discriminators = Discriminators(**asdict(spec.discriminator))
    return measure(VocoderTraining(generator, discriminators, weights, 0, Schedule(), 0), spec.loop)


def acoustic_step(spec: TrainAcoustic, k: int) -> Step:
    """A step of ``train_acoustic`` on discrete units, every utterance as long as the longest that is taken whole."""
    model = AcousticModel(num_units=k, num_speakers=MANY_SPEAKERS, **asdict(spec.model))
    return measure(AcousticTraining(model, Schedule(), 0), spec.loop, batch=_sentences)


def digits_step(spec: TrainDigitClassifier) -> Step:
    """A step of ``train_digit_classifier``."""

    def seconds(loop: Loop, rows: int) -> Batch:
        batch = {"audio": torch.randn(rows, loop.segment_samples), "digit": torch.zeros(rows, dtype=torch.int64)}
        return {name: value.to(device()) for name, value in batch.items()}

    module = DigitTraining(DigitClassifier(**asdict(spec.model)), Schedule(), 0)
    return measure(module, spec.loop, batch=seconds)


def encoder_speed(kind: str, layer: int, options: Mapping[str, Any], seconds: float) -> float:
    """Seconds of audio that the encoder encodes per second, in a batch of ``seconds``."""
    encoder = build_encoder({"kind": kind, "layer": layer, "options": dict(options)}).eval().to(device()).prepare()
    wave = 0.1 * torch.randn(1, int(seconds * RATE), device=device())
    with torch.inference_mode():
        return seconds / _timed(lambda: encoder(wave))


def vocoder_speed(spec: TrainResynthesis, f0_vq: TrainF0VQ, k: int, seconds: float = 4.0) -> float:
    """Seconds of audio that the trained vocoder makes per second, one utterance of ``seconds`` after another."""
    model = _generator(spec, f0_vq, k).eval().to(device())
    model.vocoder.prepare()
    batch = _segments(replace(spec.loop, segment_samples=1280 * int(seconds * RATE / 1280)), 1)
    with torch.inference_mode():
        return seconds / _timed(lambda: model(batch["units"], batch["f0"], batch["speaker"]))


def measure(
    module: TrainingModule, loop: Loop, step: int = 0, batch: Callable[[Loop, int], Batch] | None = None
) -> Step:
    """One step of the module at the true step ``step``; ``batch`` makes rows (default: segments of speech)."""
    rows_of = batch or _segments
    module.to(device())
    optimisers = module.configure_optimizers()
    patched: Any = module  # what Lightning's trainer would do
    patched.optimizers = lambda: optimisers
    patched.manual_backward = lambda loss: loss.backward()

    def once(rows: int) -> None:
        module.step = step
        module.training_step(rows_of(loop, rows), 0)

    rows = 1 if device() == "cpu" else loop.batch_size
    seconds = _timed(lambda: once(rows))
    if rows < loop.batch_size and seconds * loop.batch_size < QUICK_SECONDS:
        rows = loop.batch_size
        seconds = _timed(lambda: once(rows))
    alive, counter = _Alive(), FlopCounterMode(display=False)
    with counter, saved_tensors_hooks(alive.pack, lambda held: held.tensor):
        once(rows)
    times = loop.batch_size / rows
    weights = sum(p.numel() for p in module.parameters())
    memory = alive.most * times + BYTES_TRAINED * weights
    return Step(seconds * times, counter.get_total_flops() * times, memory, weights)


def _timed(work: Callable[[], Any]) -> float:
    """Seconds of a call, as above: the least of a few, or of two that take long."""
    on_gpu = device() == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    torch.set_num_threads(1)
    times: list[float] = []
    while len(times) < 2 or (len(times) < 5 and sum(times) < QUICK_SECONDS):
        start = clock()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times)


def _generator(spec: TrainResynthesis, f0_vq: TrainF0VQ, k: int) -> UnitGenerator:
    quantiser = asdict(f0_vq.model) if spec.use_f0 else None
    return UnitGenerator(k, MANY_SPEAKERS, f0_quantizer=quantiser, **asdict(spec.generator), f0_scale=f0_vq.normalise)


def _segments(loop: Loop, rows: int) -> Batch:
    samples = loop.segment_samples
    batch = {
        "audio": 0.1 * torch.randn(rows, 1, samples),
        "units": torch.randint(2, (rows, samples // UNIT_HOP)),
        "f0": torch.randn(rows, 1, samples // F0_HOP),
        "speaker": torch.zeros(rows, dtype=torch.int64),
    }
    return {name: value.to(device()) for name, value in batch.items()}


def _sentences(loop: Loop, rows: int) -> Batch:
    """What an acoustic model is trained on."""
    frames = loop.segment_samples // UNIT_HOP
    batch = {
        "content": torch.randint(2, (rows, frames)),
        "mel": torch.randn(rows, 2 * frames, MEL.n_mels),
        "lengths": torch.full((rows,), frames),
        "speaker": torch.zeros(rows, dtype=torch.int64),
    }
    return {name: value.to(device()) for name, value in batch.items()}
