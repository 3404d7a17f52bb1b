"""Extraction, shards and k-means against a named baseline, ratios in one run: ``python benchmarks/extraction.py``.

speed: a folder of shards through HuBERT at Base size (random weights) by worker processes, against torchaudio's own
modules in a float32 loop of one recording after the other on all cores; the same layer, decoding and writing on both
sides. f0: tracking by a process for each core against one. shards: reading frames against one float16 ``.npy`` for
each utterance. memory: peak of features and k-means on a corpus and on one of ten times the length.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from speech.audio.waveforms import decode_audio, encode_audio  # noqa: E402
from speech.rates import SAMPLE_RATE  # noqa: E402
from speech.storage.shards import AUDIO, features_schema, read_shard, shard_name, shard_paths, write_shard  # noqa: E402


class Silent:
    """A tracker of nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Forget."""


def write_audio(folder: Path, utterances: int, per_shard: int, longest: float = 10.0) -> float:
    """Shards of coloured noise, 1 s to ``longest`` s each; returns the seconds of audio."""
    rng, total = np.random.default_rng(0), 0
    for shard, start in enumerate(range(0, utterances, per_shard)):
        rows = []
        for number in range(start, min(start + per_shard, utterances)):
            samples = 1280 * int(rng.uniform(1.0, longest) * SAMPLE_RATE / 1280)
            wave = np.convolve(rng.standard_normal(samples), np.hanning(int(rng.integers(3, 40))), "same")
            wave *= 0.3 * (1 + np.sin(np.arange(samples) * rng.uniform(0.0005, 0.003))) / np.abs(wave).max()
            identity = {"id": f"{number:06d}", "speaker": "ab"[number % 2], "split": "train", "language": "en"}
            audio = encode_audio(wave.astype(np.float32), "flac")
            rows.append({**identity, "num_samples": samples, "num_speech": samples, "audio": audio})
            total += samples
        write_shard(folder / shard_name(shard), rows, AUDIO)
    return total / SAMPLE_RATE


def write_encoder(folder: Path, kind: str, layer: int) -> dict[str, Any]:
    """An encoder folder; HuBERT at Base size with random weights."""
    from models.encoders import build_encoder
    from respeak.encoders.loading import save_encoder

    config: dict[str, Any] = {"kind": kind, "layer": layer, "options": {}, "weights": "random"}
    return save_encoder(folder, config, build_encoder(config))


def loop(audio: Path, encoder: Path, output: Path, layer: int) -> None:
    """The baseline: torchaudio's modules, float32, one recording after the other, one ``.npy`` each."""
    import torch

    from respeak.encoders.loading import load_encoder

    model: Any = load_encoder(encoder)
    for path in shard_paths(audio):
        for row in read_shard(path, ["id", "audio"]):
            wave = torch.from_numpy(decode_audio(row["audio"]))
            with torch.inference_mode():
                padded = torch.nn.functional.pad(wave, (40, 40))[None]
                frames = model.model.extract_features(padded, num_layers=layer)[0][-1][0]
            np.save(output / f"{row['id']}.npy", frames.half().numpy())


def by_shards(pool: Executor, audio: Path, encoder: Path, output: Path, how: dict[str, Any]) -> None:
    """Ours: the stage's work over every shard in worker processes."""
    from respeak.encoders.encoder_files import read_config
    from stages.data.extraction import Extraction
    from stages.features import encode_shard

    extraction = Extraction(encoder, how["device"], how["precision"], int(how["batch_seconds"] * SAMPLE_RATE))
    work = functools.partial(encode_shard, extraction=extraction, config=read_config(encoder))
    _drain(pool, work, shard_paths(audio), [output / path.name for path in shard_paths(audio)])


def seconds(work: Callable[[], Any]) -> float:
    """Wall time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def both_times(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall time and the processor's time of this process."""
    start = time.process_time()
    wall = seconds(work)
    return wall, time.process_time() - start


def compare_speed(root: Path, options: argparse.Namespace) -> None:
    """Extraction against the loop, and how many units bfloat16 changes; models are loaded within the time."""
    import torch

    from stages.params.whole import load_params
    from stages.runtime.engine import open_executor

    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    os.environ["RESPEAK_WORKERS"] = str(options.workers or cores)
    audio, encoder = root / "audio", root / "encoder"
    total = write_audio(audio, options.utterances, max(1, options.utterances // (4 * cores)))
    write_encoder(encoder, "hubert", options.layer)
    (root / "loop").mkdir()
    took = {"loop": seconds(lambda: loop(audio, encoder, root / "loop", options.layer))}
    runtime = load_params(PROJECT / "params.yaml").runtime
    for precision in options.precisions:
        how = {"device": options.device, "precision": precision, "batch_seconds": options.batch_seconds}
        with open_executor(runtime) as pool:
            work = functools.partial(by_shards, pool, audio, encoder, root / precision, how)
            took[precision] = seconds(work)
    print(f"extraction of {total:.0f} s of audio, HuBERT Base, layer {options.layer}, {cores} cores")
    for name, value in took.items():
        print(f"  {name:10} {value:7.1f} s  {total / value:6.1f} x real time  ratio {took['loop'] / value:.2f}")
    exact = _frames(root / "float32")
    error = np.abs(exact - np.concatenate([np.load(path) for path in sorted((root / "loop").iterdir())])).max()
    print(f"  float32 differs from the loop by at most {error:.1e} (one step of float16 at 2 is 2e-3)")
    if "bfloat16" in options.precisions:
        print(f"  units equal in float32 and bfloat16: {100 * _agreement(exact, _frames(root / 'bfloat16')):.2f} %")


def _frames(folder: Path) -> np.ndarray:
    rows = (row for path in shard_paths(folder) for row in read_shard(path, ["features"]))
    return np.concatenate([row["features"] for row in rows]).astype(np.float32)


def _agreement(exact: np.ndarray, low: np.ndarray, k: int = 100) -> float:
    import torch

    from models.kmeans import MiniBatchKMeans, plus_plus
    from speech.units import assign

    frames = torch.from_numpy(exact)
    model = MiniBatchKMeans(plus_plus(frames[:20_000], min(k, len(frames)), torch.Generator().manual_seed(0)))
    for _ in range(5):
        model.update(frames)
    centres = model.centres.numpy()
    return float(np.mean(assign(exact, centres) == assign(low, centres)))


def compare_f0(root: Path, options: argparse.Namespace) -> None:
    """The F0 stage's work over shards by one process and by all cores; starting them is within the time."""
    from stages.f0 import track_shard
    from stages.params.whole import load_params
    from stages.runtime.engine import open_executor

    params = load_params(PROJECT / "params.yaml")
    cores = options.workers or len(os.sched_getaffinity(0))
    total = write_audio(root / "audio", options.files, max(1, options.files // (8 * cores)))
    work = functools.partial(track_shard, settings=params.f0)
    paths, took = shard_paths(root / "audio"), []
    for workers in (1, cores):
        os.environ["RESPEAK_WORKERS"] = str(workers)
        outputs = [root / f"f0-{workers}" / path.name for path in paths]
        with open_executor(params.runtime) as pool:
            took.append(seconds(functools.partial(_drain, pool, work, paths, outputs)))
    print(f"F0 ({params.f0.method}) of {total:.0f} s of audio: one process {took[0]:.1f} s", end="  ")
    print(f"{cores} processes {took[1]:.1f} s  ratio {took[0] / took[1]:.2f}")


def _drain(pool: Executor, work: Callable[..., Any], *tasks: list[Path]) -> None:
    for _ in pool.map(work, *tasks):
        pass


def compare_shards(root: Path, options: argparse.Namespace) -> None:
    """Reading every frame once, files in the page cache, the least of 21 in turns; the processor's time beside it,
    which other work on the machine changes less.
    """
    rng = np.random.default_rng(0)
    base = rng.standard_normal((500, 768)).astype(np.float16)
    rows = [
        {"id": f"{i:06d}", "speaker": "a", "features": np.roll(base, i, axis=0)[: int(rng.integers(50, 500))]}
        for i in range(options.files)
    ]
    (root / "npy").mkdir()
    for row in rows:
        np.save(root / "npy" / f"{row['id']}.npy", row["features"])
    paths = sorted((root / "npy").iterdir())
    table = [{**row, "num_frames": len(row["features"])} for row in rows]
    write_shard(root / shard_name(0), table, features_schema(768))

    def shards() -> int:
        return sum(int(row["features"][-1, 0] > 0) for row in read_shard(root / shard_name(0), ["id", "features"]))

    def files() -> int:
        return sum(int(np.load(path)[-1, 0] > 0) for path in paths)

    if shards() != files():
        raise AssertionError("shards and .npy files differ")
    times = np.array([[both_times(shards), both_times(files)] for _ in range(21)]).min(axis=0) / len(rows) * 1e3
    for clock, (ours, theirs) in zip(("wall", "processor"), times.T, strict=True):
        print(
            f"reading {len(rows)} utterances, {clock} time: shards {ours:.3f} ms each, .npy {theirs:.3f} ms each",
            end="  ",
        )
        print(f"ratio {ours / theirs:.2f}")


def compare_memory(root: Path, options: argparse.Namespace) -> None:
    """Peak of a process that does a whole corpus, and of one that does ten times as much."""
    write_audio(root / "audio", 24, 24, 5.0)
    write_encoder(root / "encoder", "logmel", 0)
    for job in ("features", "kmeans"):
        peaks = []
        for shards in (options.shards, 10 * options.shards):
            corpus = root / f"{job}{shards}"
            (corpus / "audio").mkdir(parents=True)
            for index in range(shards):
                os.link(root / "audio" / shard_name(0), corpus / "audio" / shard_name(index))
            command = [sys.executable, __file__, "--child", job, str(corpus), str(root / "encoder")]
            peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(f"memory of {job}: {peaks[0]:.0f} MB, ten times the corpus {peaks[1]:.0f} MB", end="  ")
        print(f"ratio {peaks[1] / peaks[0]:.2f}")


def child(job: str, corpus: Path, encoder: Path) -> None:
    """One job over a corpus in this process; prints its peak memory in MB."""
    from respeak.encoders.encoder_files import read_config
    from stages import kmeans
    from stages.data.extraction import Extraction
    from stages.features import encode_shard
    from stages.params.kmeans import KMeans

    if job == "features":
        extraction = Extraction(encoder, "cpu", "float32", 60 * SAMPLE_RATE)
        for path in shard_paths(corpus / "audio"):
            encode_shard(path, corpus / "features" / path.name, extraction, read_config(encoder))
    else:
        rng = np.random.default_rng(0)
        for path in shard_paths(corpus / "audio"):
            rows = [
                {**row, "num_frames": 500, "features": rng.standard_normal((500, 768)).astype(np.float16)}
                for row in read_shard(path, ["id", "speaker"])
            ]
            write_shard(corpus / "features" / path.name, rows, features_schema(768))
        settings = KMeans("fit", "", None, 20, "none", 2000, 4000, 1)
        kmeans.fit(kmeans.Frames(corpus, "none", {}), kmeans.survey(corpus)[0], settings, 0, Silent())
    # getrusage would count what the parent held when it started this process.
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


COMPARE = {"speed": compare_speed, "f0": compare_f0, "shards": compare_shards, "memory": compare_memory}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=list(COMPARE), help=", ".join(COMPARE))
    parser.add_argument("--utterances", type=int, default=192, help="speed: recordings of 1 to 10 s")
    parser.add_argument("--layer", type=int, default=6)
    parser.add_argument("--workers", type=int, help="default: one for each core")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-seconds", type=float, default=20.0)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--files", type=int, default=500, help="shards, f0: utterances")
    parser.add_argument("--shards", type=int, default=6, help="memory: shards of the small corpus")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]), Path(options.child[2]))
        return
    for what in options.what:
        with tempfile.TemporaryDirectory() as root:
            COMPARE[what](Path(root), options)


if __name__ == "__main__":
    main()
