"""Resynthesis at the published size against the straightforward way, ratios in one run.

    python benchmarks/resynthesis.py [step] [input] [synthesis] [gpu]

step: one training step, discriminators and generator, from the same weights on the same batch. The straightforward
one runs every discriminator for recordings and for what was generated, each time with gradients for all there is, the
period discriminators as two-dimensional convolutions; its losses must agree with ours.
input: a training item from shards, against decoding, cropping, YAAPT on the crop and parsing units from text.
synthesis: a test split by the stage's workers, one in every core, from F0 and units in shards, against one recording
after the other with its F0 by YAAPT, on all cores; words of one second and sentences of two to six.
gpu: the step in bf16 against float32, and both loss curves, where there is a GPU.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.straightforward import (  # noqa: E402
    SEGMENT,
    Straightforward,
    straightforward_items,
    straightforward_synthesis,
)
from models.hifigan import Discriminators  # noqa: E402
from models.hifigan.training import LossWeights  # noqa: E402
from models.resynthesis import UnitGenerator  # noqa: E402
from models.resynthesis.vocoder_training import ResynthesisTraining  # noqa: E402
from models.training import Schedule  # noqa: E402
from speech.audio.waveforms import decode_audio, encode_audio  # noqa: E402
from speech.pitch import normalise_f0, voiced_statistics  # noqa: E402
from speech.rates import F0_HOP, SAMPLE_RATE, UNIT_HOP  # noqa: E402
from speech.storage.shards import AUDIO, F0, UNITS, read_shard, shard_name, write_shard  # noqa: E402

BATCH, UNITS_K = 16, 100


def seconds(work: Callable[[], Any]) -> float:
    """Wall time."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(works: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """The least time of each, after one that does not count, in turns: what disturbs one disturbs the other."""
    for work in works:
        work()
    return np.array([[seconds(work) for work in works] for _ in range(rounds)]).min(axis=0).tolist()


# -- the training step ------------------------------------------------------------------------------------------------


class Ours(ResynthesisTraining):
    """The training module, its optimisers without a trainer."""

    def begin(self) -> list[Any]:
        """The optimisers of all steps."""
        if not hasattr(self, "made"):
            self.made = self.configure_optimizers()
        return self.made

    def manual_backward(self, loss: Tensor, *_: Any, **__: Any) -> None:
        """Plainly."""
        loss.backward()


def networks(device: str = "cpu") -> tuple[UnitGenerator, Discriminators]:
    """At the published size, the same weights each time."""
    torch.manual_seed(0)
    generator = UnitGenerator(UNITS_K, 200, 128, {})
    generator.quantizer.codebook.codes.normal_()  # type: ignore[union-attr]
    return generator.to(device).train(), Discriminators().to(device).train()


def training(device: str = "cpu") -> Ours:
    """Our step at the published size."""
    return Ours(*networks(device), LossWeights(), 0, Schedule(), 0)


def batch_of(size: int, device: str = "cpu", seed: int = 0) -> dict[str, Tensor]:
    """Voice-like waves with units and F0."""
    rng = torch.Generator().manual_seed(seed)
    hz = 100 + 100 * torch.rand(size, 1, 1, generator=rng)
    time_ = torch.arange(SEGMENT) / SAMPLE_RATE
    wave = sum(torch.sin(2 * torch.pi * k * hz * time_) / k for k in range(1, 12)) * 0.2
    wave = wave + 0.01 * torch.randn(size, 1, SEGMENT, generator=rng)
    batch = {
        "audio": wave.clamp(-1, 1),
        "units": torch.randint(UNITS_K, (size, SEGMENT // UNIT_HOP), generator=rng),
        "f0": torch.randn(size, 1, SEGMENT // 80, generator=rng),
        "speaker": torch.randint(200, (size,), generator=rng),
    }
    return {name: value.to(device) for name, value in batch.items()}


def compare_step(options: argparse.Namespace) -> None:
    """Ours against the straightforward step; first that both do the same."""
    batch, ours, theirs = batch_of(options.batch), training(), Straightforward(*networks())
    for _ in range(2):
        expected = theirs.step(batch)
        ours.training_step(batch, 0)
        for name, value in expected.items():
            found = float(ours.metrics[f"train/loss_{name}"])
            # The spectral norm's estimate moves once with the joint batch, twice in two calls.
            assert abs(found - value) < 0.02 * abs(value), (name, found, value)
    took = in_turns([lambda: theirs.step(batch), lambda: ours.training_step(batch, 0)], options.rounds)
    _say(f"training step, batch {options.batch}, {torch.get_num_threads()} threads", *took, limit="<= 0.8")


# -- the input pipeline -----------------------------------------------------------------------------------------------


def write_corpus(root: Path, utterances: int, split: str = "train", blocks: tuple[int, int] = (25, 75)) -> None:
    """Shards of voice-like recordings of so many blocks of 80 ms, with units and F0, and a text of units."""
    rng = np.random.default_rng(0)
    streams: dict[str, list[dict[str, Any]]] = {"audio": [], "units": [], "f0": []}
    lines = []
    for number in range(utterances):
        samples = 1280 * int(rng.integers(*blocks))
        hz = 120 * (1 + 0.2 * np.sin(np.arange(samples) / SAMPLE_RATE * rng.uniform(3, 9)))
        phase = np.cumsum(2 * np.pi * hz / SAMPLE_RATE)
        loud = np.clip(1.5 * np.sin(np.arange(samples) / SAMPLE_RATE * rng.uniform(8, 14)), 0, 1)
        wave = loud * sum(np.sin(k * phase) / k for k in range(1, 12)) * 0.2 + 0.003 * rng.standard_normal(samples)
        units = rng.integers(0, UNITS_K, samples // UNIT_HOP).astype(np.uint16)
        row = {"id": f"{number:05d}", "speaker": f"s{number % 4}", "split": split, "language": "en", "text": None}
        row |= {"num_samples": samples, "num_speech": samples, "phones": None}
        streams["audio"].append({**row, "audio": encode_audio(wave.astype(np.float32), "flac")})
        streams["units"].append({"id": row["id"], "units": units})
        streams["f0"].append({"id": row["id"], "f0": np.where(loud[::80] > 0, hz[::80], 0).astype(np.float32)})
        lines.append(f"{row['id']}|{' '.join(map(str, units))}")
    for stream, schema in (("audio", AUDIO), ("units", UNITS), ("f0", F0)):
        write_shard(root / stream / shard_name(0), streams[stream], schema, {})
    tracks = {name: [] for name in ("s0", "s1", "s2", "s3")}
    for audio, f0 in zip(streams["audio"], streams["f0"], strict=True):
        tracks[audio["speaker"]].append(f0["f0"])
    stats = {name: voiced_statistics(np.concatenate(parts)) for name, parts in tracks.items() if parts}
    (root / "f0_stats.json").write_text(json.dumps(stats))
    (root / "units.txt").write_text("\n".join(lines))


def compare_input(options: argparse.Namespace) -> None:
    """Milliseconds per item."""
    from stages.data.segments import Cut, SegmentBatches
    from stages.data.utterance_index import CorpusStreams, build_index

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_corpus(root, options.items)
        index = build_index([CorpusStreams(root, ("audio", "units", "f0"))], "train")

        def ours() -> None:
            # A reader of its own each time: recordings are decoded, as in the first epoch.
            for _ in SegmentBatches(index, Cut(SEGMENT, "hz"), index.speakers, BATCH, 0, options.items // BATCH):
                pass

        took = in_turns([lambda: straightforward_items(root, options.items), ours], options.rounds)
    each = [1000 * value / options.items for value in took]
    _say("input, milliseconds an item, first epoch", *each, limit=">= 20 times", times=True)


# -- synthesis --------------------------------------------------------------------------------------------------------


def write_system(root: Path) -> Path:
    """A bundle of the published size, weights as they are drawn."""
    from models.encoders import build_encoder
    from respeak.encoders.loading import save_encoder
    from respeak.systems.resynthesis.bundle import save_resynthesis

    config: dict[str, Any] = {"kind": "mfcc", "layer": 0, "options": {}}
    encoder = build_encoder(config)
    save_encoder(root / "encoder", config, encoder)
    model = {"num_units": UNITS_K, "num_speakers": 4, "embedding_dim": 128, "f0_quantizer": {}}
    bundle = {
        "scale": "paper",
        "sample_rate": SAMPLE_RATE,
        "unit_hop": UNIT_HOP,
        "f0_hop": F0_HOP,
        "kmeans": {"k": UNITS_K, "normalise": "none"},
        "f0": {"method": "yaapt", "floor_hz": 60.0, "ceil_hz": 400.0, "normalise": "hz"},
        "audio": {"trim_db": None, "normalise_peak": 0.95, "pad_multiple": 1280},
        "model": model,
    }
    stats = json.loads((root / "data/f0_stats.json").read_text())
    generator, _ = networks()
    state = UnitGenerator(**{**model, "f0_quantizer": {}}).state_dict()
    state |= {name: value for name, value in generator.state_dict().items() if state[name].shape == value.shape}
    centroids = np.random.default_rng(0).normal(size=(UNITS_K, encoder.dim)).astype(np.float32)
    save_resynthesis(root / "system", bundle, state, centroids, root / "encoder", stats)
    return root / "system"


def by_parts(pool: Executor, root: Path, system: Path) -> list[Path]:
    """Ours: the stage's work, in as many parts as there are cores."""
    from stages.params.experiments import Experiment
    from stages.synthesis.worker import Part, synthesize_part

    experiment = Experiment("resynthesis", str(system), "resynthesis", "own", "trained")
    rows = list(read_shard(root / "data/audio" / shard_name(0), ["id", "speaker", "num_speech"]))
    rows.sort(key=lambda row: row["num_speech"])  # dealt out in turn: every core has about as many seconds
    cores = len(os.sched_getaffinity(0))
    parts = []
    for core in range(cores):
        voices = {row["id"]: (row["speaker"],) for row in rows[core::cores]}
        parts.append(Part(experiment, root / "data", shard_name(0), voices, {}, {}, 0, "cpu", "flac"))
    outputs = [root / "made" / shard_name(core) for core in range(cores)]
    list(pool.map(synthesize_part, parts, outputs))
    return outputs


def compare_synthesis(options: argparse.Namespace) -> None:
    """Seconds for a test split of words, and for one of sentences; loading is within both times."""
    from stages.params.whole import load_params
    from stages.runtime.engine import open_executor

    os.environ["RESPEAK_WORKERS"] = str(len(os.sched_getaffinity(0)))
    for what, blocks in (("words", (10, 15)), ("sentences", (25, 75))):
        with (
            tempfile.TemporaryDirectory() as folder,
            open_executor(load_params(PROJECT / "params.yaml").runtime) as pool,
        ):
            root = Path(folder)
            write_corpus(root / "data", options.utterances, "test", blocks)
            system = write_system(root)
            works = [
                functools.partial(straightforward_synthesis, root, system),
                functools.partial(by_parts, pool, root, system),
            ]
            took = in_turns(works, options.rounds)
            check_synthesis(root, system)
        _say(f"synthesis of {options.utterances} {what}, seconds", *took, limit=">= 2 times", times=True)


def check_synthesis(root: Path, system: Path) -> None:
    """What the stage wrote is what the network says of the stored units and F0."""
    from respeak.systems.resynthesis.bundle import ResynthesisBundle

    bundle = ResynthesisBundle.load(system)
    model, names = bundle.generator(), list(bundle.speakers)
    shards = [read_shard(root / "data" / stream / shard_name(0)) for stream in ("audio", "units", "f0")]
    audio, units, f0 = (next(rows) for rows in shards)
    track = normalise_f0(f0["f0"], bundle.speakers[audio["speaker"]])
    with torch.no_grad():
        batch = torch.from_numpy(units["units"].astype(np.int64))[None], torch.from_numpy(track)[None, None]
        expected = model(*batch, torch.tensor([names.index(audio["speaker"])]))[0, 0].numpy()
    parts = sorted((root / "made").iterdir())
    (spoken,) = [row["audio"] for part in parts for row in read_shard(part) if row["id"] == audio["id"]]
    made = decode_audio(spoken)
    assert np.abs(made - expected[: len(made)]).max() < 1e-3


# -- a GPU ------------------------------------------------------------------------------------------------------------


def compare_precisions(options: argparse.Namespace) -> None:
    """Our step on a GPU in float32 and under bf16 autocast: ratio, and losses side by side."""
    if not torch.cuda.is_available():
        print("gpu: none here, not measured")
        return
    batches = [batch_of(options.batch, "cuda", seed) for seed in range(8)]
    curves, took = {}, {}
    for name in ("float32", "bf16"):
        module, losses = training("cuda"), []

        def step(number: int, module: Ours = module, low: bool = name == "bf16") -> None:
            with torch.autocast("cuda", torch.bfloat16, enabled=low):
                module.training_step(batches[number % len(batches)], 0)

        for number in range(options.steps):
            step(number)
            losses.append(float(module.metrics["train/loss_mel"]))
        took[name] = min(seconds(lambda: [step(number) for number in range(8)]) for _ in range(options.rounds)) / 8
        curves[name] = np.array(losses)
    _say(f"GPU step, batch {options.batch}", took["float32"], took["bf16"], limit=">= 2 times", times=True)
    last = options.steps // 4
    difference = np.abs(curves["bf16"][-last:].mean() / curves["float32"][-last:].mean() - 1)
    print(
        f"mel loss over the last {last} of {options.steps} steps: bf16 differs from float32 by {100 * difference:.1f} %"
    )
    for number in range(0, options.steps, max(1, options.steps // 10)):
        print(f"  step {number:4d}  float32 {curves['float32'][number]:.4f}  bf16 {curves['bf16'][number]:.4f}")


def _say(what: str, theirs: float, ours: float, limit: str, times: bool = False) -> None:
    ratio = f"{theirs / ours:.1f} times" if times else f"ratio {ours / theirs:.2f}"
    print(f"{what}: straightforward {theirs:.3f}, ours {ours:.3f}: {ratio} (wanted {limit})", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["step", "input", "synthesis", "gpu"])
    parser.add_argument("--batch", type=int, default=4, help="of the training step")
    parser.add_argument("--items", type=int, default=64, help="of the input pipeline")
    parser.add_argument("--utterances", type=int, default=24, help="of each test split")
    parser.add_argument("--rounds", type=int, default=3, help="of which the fastest counts")
    parser.add_argument("--steps", type=int, default=200, help="of the loss curves on a GPU")
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    works = {"step": compare_step, "input": compare_input, "synthesis": compare_synthesis, "gpu": compare_precisions}
    for part in options.parts:
        if part not in works:
            parser.error(f"{part} is not one of {', '.join(works)}")
        works[part](options)


if __name__ == "__main__":
    main()
