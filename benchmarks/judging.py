"""Judging words by pocketsphinx, ratios in one run: ``python benchmarks/judging.py``.

Sentences spoken by espeak-ng, judged as the stage ``evaluate`` does: by one worker process, by two, and once more from
the answers that were kept. Starting the workers and loading the recogniser are within the times.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from speech.audio.waveforms import encode_audio, resample  # noqa: E402
from speech.corpora.espeak import RATE, Utterance, synthesize  # noqa: E402
from speech.rates import SAMPLE_RATE  # noqa: E402
from speech.storage.shards import AUDIO, SYNTHESIS, read_shard, shard_name, shard_paths, write_shard  # noqa: E402
from stages.params.whole import load_params  # noqa: E402

VOICES = ("en-us+f5", "en-us+m2", "en-us+Alicia", "en-us+david")
PER_SHARD = 16


def write_corpus(root: Path, count: int) -> float:
    """A corpus and an experiment that copies it; returns the seconds of audio."""
    prompts = (PROJECT / "speech/corpora/prompts/sentences.txt").read_text().splitlines()
    texts = [prompts[index % len(prompts)] for index in range(count)]
    sounds = synthesize(Utterance(text, VOICES[index % len(VOICES)]) for index, text in enumerate(texts))
    rows = []
    for index, (text, sound) in enumerate(zip(texts, sounds, strict=True)):
        wave = resample(sound.samples.astype("float32") / 32768, RATE)
        who = {"speaker": VOICES[index % len(VOICES)], "source_speaker": "a", "target_speaker": "a", "split": "test"}
        name = {"id": f"{index:05d}", "source_id": f"{index:05d}", "text": text, "language": "en"}
        size = {"num_samples": len(wave), "num_speech": len(wave)}
        rows.append({**name, **who, **size, "audio": encode_audio(wave, "flac"), "phones": None})
    for shard, start in enumerate(range(0, count, PER_SHARD)):
        for folder, schema in (("data/spoken/audio", AUDIO), ("synthesize/spoken", SYNTHESIS)):
            kept = [{name: row[name] for name in schema.names} for row in rows[start : start + PER_SHARD]]
            write_shard(root / folder / shard_name(shard), kept, schema)
    return sum(row["num_samples"] for row in rows) / SAMPLE_RATE


def judge(mode: str, workers: int) -> float:
    """Wall seconds to judge the experiment by ``workers`` processes."""
    from speech.judges.settings import ASR, Phonemes
    from stages.judging.answers import UTTERANCES_PER_TASK, Part, judge_part
    from stages.runtime.engine import open_executor

    params = load_params(PROJECT / "params.yaml")
    words = ASR("pocketsphinx", mode)  # type: ignore[arg-type]
    evaluate = dataclasses.replace(params.evaluate, asr=words, phonemes=Phonemes("none"), quality=[])
    tasks = []
    for shard in shard_paths("synthesize/spoken"):
        names = [row["id"] for row in read_shard(shard, ["id"])]
        for start in range(0, len(names), UTTERANCES_PER_TASK):
            some = dict.fromkeys(names[start : start + UTTERANCES_PER_TASK], shard.name)
            tasks.append(Part(shard, some, Path("data/spoken"), "en", "copy", ({}, {}), params.f0, evaluate, "cpu"))
    os.environ["RESPEAK_WORKERS"] = str(workers)
    begin = time.perf_counter()
    with open_executor(params.runtime) as pool:
        for _ in pool.map(judge_part, tasks, [Path(f"judged/{index}.parquet") for index in range(len(tasks))]):
            pass
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=192)
    parser.add_argument("--mode", default="open", choices=["open", "lm", "words", "sentences"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        seconds = write_corpus(Path(folder), options.utterances)
        took = {}
        for workers in (1, 2):
            shutil.rmtree(".scratch", ignore_errors=True)
            took[f"{workers} process" + "es" * (workers > 1)] = judge(options.mode, workers)
        took["kept answers"] = judge(options.mode, 2)
    first = next(iter(took.values()))
    print(f"pocketsphinx ({options.mode}), {options.utterances} sentences, {seconds:.0f} s of audio")
    for name, value in took.items():
        print(f"  {name:14} {value:6.1f} s  {seconds / value:6.1f} x real time  ratio {first / value:.2f}")


if __name__ == "__main__":
    main()
