"""Audio per processor-second of what the data stages do, one thread each: ``python benchmarks/throughput.py``.

The speeds in ``stages/facts`` come from here. Speech is the demo corpus's; the least processor time of three.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

import numpy as np  # noqa: E402

from speech.audio.waveforms import Conditioning, condition, encode_audio, read_wave  # noqa: E402
from speech.corpora import prepare  # noqa: E402
from speech.dvectors import embed  # noqa: E402
from speech.judges.asr import Pocketsphinx  # noqa: E402
from speech.pitch import extract_f0  # noqa: E402
from speech.rates import SAMPLE_RATE, UNIT_HOP  # noqa: E402
from speech.units import assign  # noqa: E402

LIKE_PARAMS = Conditioning(40.0, 0.95, 1280, 0.1, 40.0)


def speed(work: Callable[[], object], seconds: float) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return seconds / min(times)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = {"voices": "all", "sentences": 4, "digits": 4}
        listing = prepare("demo", PROJECT / "speech/corpora/prompts", Path(folder), 1234, options)
        paths = [listing.base / entry.path for entry in listing.entries]
        texts = [entry.text for entry in listing.entries if entry.text]
        heard = [read_wave(path) for path in paths]
        waves = [condition(wave, rate, LIKE_PARAMS).wave for wave, rate in heard]
        seconds = sum(len(wave) for wave in waves) / SAMPLE_RATE

        def conditioned() -> None:
            for path in paths:
                encode_audio(condition(*read_wave(path), LIKE_PARAMS).wave, "flac")

        frames, centroids = np.random.default_rng(0).random((20_000, 768), np.float32), np.eye(100, 768, dtype="f4")
        judges = {"open": Pocketsphinx("open"), "sentences": Pocketsphinx("sentences", texts)}
        results = {
            "audio": speed(conditioned, seconds),
            "f0, dio": speed(lambda: [extract_f0(wave, "dio") for wave in waves], seconds),
            "f0, harvest": speed(lambda: [extract_f0(wave, "harvest") for wave in waves[::8]], seconds / 8),
            "f0, yaapt": speed(lambda: [extract_f0(wave, "yaapt") for wave in waves[::8]], seconds / 8),
            "speakers": speed(lambda: [embed(wave) for wave in waves[::4]], seconds / 4),
            "units of 768 dimensions, K = 100": speed(
                lambda: assign(frames, centroids), len(frames) * UNIT_HOP / SAMPLE_RATE
            ),
            **{
                f"words, {mode}": speed(lambda judge=judge: [judge.transcribe(w) for w in waves[::8]], seconds / 8)
                for mode, judge in judges.items()
            },
        }
    for name, value in results.items():
        print(f"{name:36} {value:8.1f} s of audio per processor-second")


if __name__ == "__main__":
    main()
