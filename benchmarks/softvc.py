"""Soft-VC at the published sizes against the straightforward way, ratios in one run.

    python benchmarks/softvc.py [generate] [convert] [units] [step]

generate: log-mels of 5 s of speech, against torch's LSTM layers called once for each frame, as the model's description
reads; float32 must say the same mel, of smaller weights the error is stated.
convert: wave to wave, soft units, in float32: seconds taken for each second of speech, part by part.
units: soft units of a folder by the stage's work in worker processes, against one file after the other on all cores.
step: acoustic training, utterances a second: batches of similar length with padding masked out and the fused optimiser,
against batches as they come, padding computed and counted; utterances are as long as LJSpeech's.
Weights are random: what is measured does not depend on them, but the errors of smaller weights do.
"""

from __future__ import annotations

import argparse
import copy
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.extraction import by_shards, write_audio  # noqa: E402
from models.encoders import build_encoder  # noqa: E402
from models.softvc import AcousticModel, Vocoder  # noqa: E402
from models.softvc.acoustic import Decoder  # noqa: E402
from models.softvc.acoustic_training import mel_distance, shifted  # noqa: E402
from respeak.encoders.loading import load_encoder, save_encoder  # noqa: E402
from speech.audio.waveforms import decode_audio  # noqa: E402
from speech.rates import SAMPLE_RATE, UNIT_HOP  # noqa: E402
from speech.storage.shards import read_shard, shard_paths  # noqa: E402

UNITS_PER_SECOND = SAMPLE_RATE // UNIT_HOP
SECONDS = 5.0
# Batches that are sorted by length together (stages.data.utterances), and those that are run: of the sorted ones
# these are together as long as three on average.
POOL_BATCHES, MEASURED_BATCHES = 16, (3, 8, 12)
SOFT = {"kind": "soft_hubert", "weights": "random", "options": {"k": 100}}


def in_turns(works: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """The least wall time of each, after one that does not count, in turns: what disturbs one disturbs the other."""
    for work in works:
        work()
    times = []
    for _ in range(rounds):
        row = []
        for work in works:
            start = time.perf_counter()
            work()
            row.append(time.perf_counter() - start)
        times.append(row)
    return np.array(times).min(axis=0).tolist()


def acoustic() -> AcousticModel:
    """The published network, the same weights each time."""
    torch.manual_seed(0)
    return AcousticModel().eval()


@torch.inference_mode()
def frame_by_frame(decoder: Decoder, encoded: Tensor) -> Tensor:
    """The straightforward way: each layer of torch's is called for one frame, its state kept between the calls."""
    frame = encoded.new_zeros(len(encoded), 1, decoder.proj.out_features)
    states: list[Any] = [None, None, None]
    said = []
    for index in range(encoded.shape[1]):
        x = torch.cat([encoded[:, index : index + 1], decoder.prenet(frame)], dim=2)
        x, states[0] = decoder.lstm1(x, states[0])
        for number, layer in ((1, decoder.lstm2), (2, decoder.lstm3)):
            out, states[number] = layer(x, states[number])
            x = x + out
        frame = decoder.proj(x)
        said.append(frame)
    return torch.cat(said, dim=1)


def compare_generate(options: argparse.Namespace) -> None:
    """Free-running generation, one utterance."""
    plain = acoustic()
    units = torch.randn(1, int(SECONDS * UNITS_PER_SECOND), 256)
    ours = {p: copy.deepcopy(plain).prepare(p) for p in ("float32", "bfloat16", "int8")}
    works = {"frame by frame": lambda: frame_by_frame(plain.decoder, plain.encode(units))}
    works |= {name: functools.partial(model.generate, units) for name, model in ours.items()}
    with torch.inference_mode():
        mels = {name: work() for name, work in works.items()}
        took = dict(zip(works, in_turns(list(works.values()), options.rounds), strict=True))
    expected = mels["frame by frame"]
    print(f"mel of {SECONDS:g} s, {torch.get_num_threads()} threads")
    for name, value in took.items():
        error = (mels[name] - expected).abs()
        share = float(error.mean() / expected.std())
        print(f"  {name:15} {value:6.2f} s  ratio {took['frame by frame'] / value:5.2f}", end="  ")
        print(
            f"mel differs by {float(error.mean()):.1e} (at most {float(error.max()):.1e}; {share:.1e} of its deviation)"
        )
    if not torch.allclose(mels["float32"], expected, atol=1e-5):
        raise AssertionError("float32 does not say the same mel")


def compare_convert(options: argparse.Namespace) -> None:
    """Real-time factor of every part and of all."""
    encoder: Any = build_encoder({**SOFT, "seed": 0}).eval().prepare()
    vocoder = Vocoder().eval().prepare()
    model = acoustic().prepare()
    wave = torch.randn(1, int(SECONDS * SAMPLE_RATE)) * 0.1
    with torch.inference_mode():
        units = encoder(wave)
        mel = model.generate(units).transpose(1, 2)
        works = [lambda: encoder(wave), lambda: model.generate(units), lambda: vocoder(mel)]
        took = in_turns(works, options.rounds)
    parts = ", ".join(f"{name} {t / SECONDS:.2f}" for name, t in zip(("units", "mel", "wave"), took, strict=True))
    threads = torch.get_num_threads()
    print(f"wave to wave, float32, {threads} threads: real-time factor {sum(took) / SECONDS:.2f} ({parts})")


def one_by_one(audio: Path, encoder: Path, output: Path) -> None:
    """The straightforward way: a file is read, its units are asked for and written."""
    model: Any = load_encoder(encoder)
    for path in shard_paths(audio):
        for row in read_shard(path, ["id", "audio"]):
            wave = torch.from_numpy(decode_audio(row["audio"]))
            np.save(output / f"{row['id']}.npy", model.units(wave[None, None])[0].half().numpy())


def compare_units(options: argparse.Namespace) -> None:
    """Soft units of a folder, models loaded within the time."""
    from stages.params.whole import load_params
    from stages.runtime.engine import open_executor

    cores = len(os.sched_getaffinity(0))
    os.environ["RESPEAK_WORKERS"] = str(cores)
    runtime = load_params(PROJECT / "params.yaml").runtime
    how = {"device": "cpu", "precision": options.precision, "batch_seconds": 20.0}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        total = write_audio(root / "audio", options.utterances, max(1, options.utterances // (4 * cores)))
        save_encoder(root / "encoder", {**SOFT, "layer": 12}, build_encoder({**SOFT, "seed": 0}))

        def ours() -> None:
            with open_executor(runtime) as pool:
                by_shards(pool, root / "audio", root / "encoder", root / "shards", how)

        def theirs() -> None:
            (root / "files").mkdir(exist_ok=True)
            one_by_one(root / "audio", root / "encoder", root / "files")

        times = []
        for work in (theirs, ours):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        made = [row["features"] for path in shard_paths(root / "shards") for row in read_shard(path, ["features"])]
        error = max(
            float(np.abs(np.load(path).astype(np.float32) - mine.astype(np.float32)).max())
            for path, mine in zip(sorted((root / "files").iterdir()), made, strict=True)
        )
    print(
        f"soft units of {total:.0f} s, {cores} cores: file by file, float32 {times[0]:.1f} s, "
        f"shards, {options.precision} {times[1]:.1f} s",
        end="  ",
    )
    print(f"ratio {times[0] / times[1]:.2f}, differ by at most {error:.1e}")


def compare_step(options: argparse.Namespace) -> None:
    """Training steps of some batches of a pool, batched in two ways."""
    rng, size = np.random.default_rng(0), options.batch
    # LJSpeech's clips: 1.1 to 10.1 s, 6.6 on average.
    units = (np.clip(rng.normal(6.6, 2.2, size * POOL_BATCHES), 1.1, 10.1) * UNITS_PER_SECOND).astype(int)
    sets = {"as they come": units, "of similar length": np.sort(units)}
    took = []
    for name, lengths in sets.items():
        model = acoustic().train()
        model.mask_padding = ours = name != "as they come"
        optimiser = torch.optim.AdamW(model.parameters(), 4e-4, (0.8, 0.99), weight_decay=1e-5, fused=ours)
        train(model, optimiser, lengths[:size] // 10)
        start = time.perf_counter()
        for number in MEASURED_BATCHES:
            train(model, optimiser, lengths[number * size : (number + 1) * size])
        took.append((time.perf_counter() - start) / (size * len(MEASURED_BATCHES)))
    rates = ", ".join(f"{name} {1 / value:.2f}" for name, value in zip(sets, took, strict=True))
    print(f"acoustic training, batches of {size}, {torch.get_num_threads()} threads, utterances a second: {rates}")
    print(f"  ratio {took[0] / took[1]:.2f}")


def train(model: AcousticModel, optimiser: torch.optim.Optimizer, lengths: np.ndarray) -> None:
    """One step on random utterances of these lengths in units."""
    count = int(lengths.max())
    units, mels = torch.randn(len(lengths), count, 256), torch.randn(len(lengths), 2 * count, 128)
    counts = torch.from_numpy(lengths)
    loss = mel_distance(model(units, shifted(mels), counts), mels, 2 * counts, model.mask_padding)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


COMPARE = {"generate": compare_generate, "convert": compare_convert, "units": compare_units, "step": compare_step}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=list(COMPARE), help=", ".join(COMPARE))
    parser.add_argument("--rounds", type=int, default=3, help="generate, convert: of each the least time counts")
    parser.add_argument("--utterances", type=int, default=48, help="units: recordings of 1 to 10 s")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="units: of the shards")
    parser.add_argument("--batch", type=int, default=16, help="step: utterances; the paper's are 32")
    parser.add_argument("--threads", type=int, help="default: one for each core")
    options = parser.parse_args()
    torch.set_num_threads(options.threads or len(os.sched_getaffinity(0)))
    for what in options.what:
        COMPARE[what](options)


if __name__ == "__main__":
    main()
