"""Whole utterances for training: every one once an epoch, the same batches wherever one begins, mel under units."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from models.softvc.mel import MEL, wave_to_mel
from speech.errors import UserError
from speech.storage.shards import features_schema, read_shard, shard_paths, write_shard
from stages.data.utterances import UtteranceBatches, UtteranceReader, UtteranceSet, WindowBatches, to_float
from tests.stages.tiny_corpus import make_corpus

NAMES = ["high", "low"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty utterances; frames whose first number is the utterance's, in row groups smaller than audio's."""
    directory = tmp_path_factory.mktemp("data") / "tiny"
    make_corpus(directory, 40, per_shard=24)
    for path in shard_paths(directory / "audio"):
        rows = [
            {
                "id": row["id"],
                "speaker": row["speaker"],
                "num_frames": row["num_samples"] // 320,
                "features": np.full((row["num_samples"] // 320, 3), int(row["id"][1:])),
            }
            for row in read_shard(path)
        ]
        write_shard(directory / "soft_units" / path.name, rows, features_schema(3))
    return directory


def whole_utterances(
    corpus: Path, batch: int = 4, longest: int = 10**6, start: int = 0, content: str = "units"
) -> UtteranceBatches:
    utterances = UtteranceSet.of(corpus, "train", MEL, content)
    return UtteranceBatches(utterances, NAMES, batch, longest, padding=99, seed=5, stop=20, start=start)


def test_an_epoch_has_every_utterance_once_in_batches_of_like_length(corpus: Path) -> None:
    batches = whole_utterances(corpus, batch=3)
    count = len(batches.utterances)
    for epoch in range(2):
        steps = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
        numbers = [batches.numbers(step) for step in steps]
        assert Counter(n for batch in numbers for n in batch) == Counter(range(count))
        samples = batches.utterances.samples
        padding = sum(int(samples[b].max()) * len(b) - int(samples[b].sum()) for b in numbers)
        assert padding < 0.15 * samples.sum()
    assert batches.numbers(0) != batches.numbers(batches.per_epoch)


def test_a_run_that_goes_on_sees_what_an_unbroken_one_sees(corpus: Path) -> None:
    whole, rest = list(whole_utterances(corpus)), list(whole_utterances(corpus, start=13))
    assert len(rest) == 7
    for ours, theirs in zip(rest, whole[13:], strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_mels_lie_under_their_units_and_padding_is_marked(corpus: Path) -> None:
    batches = whole_utterances(corpus)
    reader = UtteranceReader(batches.utterances)
    batch, numbers = batches.batch(2), batches.numbers(2)
    assert batch["mel"].shape[1] == 2 * batch["content"].shape[1]
    for row, number in enumerate(numbers):
        length = int(batch["lengths"][row])
        assert length * 320 == batches.utterances.samples[number]
        assert torch.equal(batch["content"][row, :length], torch.from_numpy(reader.content(number)))
        assert (batch["content"][row, length:] == 99).all() and not batch["mel"][row, 2 * length :].any()
        expected = wave_to_mel(to_float(reader.audio(number))[None])[0].T
        torch.testing.assert_close(batch["mel"][row, : 2 * length], expected)
        assert NAMES[int(batch["speaker"][row])] == batches.utterances.index.speaker[number]


def test_frames_are_found_in_smaller_row_groups(corpus: Path) -> None:
    utterances = UtteranceSet.of(corpus, "train", MEL, "soft_units")
    reader = UtteranceReader(utterances)
    found = sorted(int(reader.content(number)[0, 0]) for number in range(len(utterances)))
    assert found == [n for n in range(40) if n // 2 % 4 != 3]


def test_cuts_of_long_utterances_keep_content_and_mel_together(corpus: Path) -> None:
    batches = whole_utterances(corpus, longest=3 * 320)
    reader, cut_later = UtteranceReader(batches.utterances), 0
    for step in range(6):
        batch = batches.batch(step)
        for row, number in enumerate(batches.numbers(step)):
            mel = reader.mel(number)
            starts = [s for s in range(len(mel) // 2 - 2) if torch.equal(mel[2 * s : 2 * s + 6], batch["mel"][row])]
            units = torch.from_numpy(reader.content(number))
            assert any(torch.equal(units[s : s + 3], batch["content"][row]) for s in starts)
            cut_later += starts != [0]
    assert cut_later > 4


def test_windows_of_predicted_mels_lie_under_their_audio(corpus: Path, tmp_path: Path) -> None:
    for path in shard_paths(corpus / "audio"):
        rows = []
        for row in read_shard(path):
            # Mel frame m says m in every band, so that a window tells where it begins.
            mel = np.repeat(np.arange(row["num_samples"] // 160, dtype=np.float32)[:, None], 128, 1)
            rows.append({"id": row["id"], "speaker": row["speaker"], "num_frames": len(mel), "features": mel})
        write_shard(tmp_path / path.name, rows, features_schema(128))
    plain = UtteranceSet.of(corpus, "train", MEL)
    windows = WindowBatches(UtteranceSet.of(corpus, "train", MEL, mels=tmp_path), 1600, 4, 3, 8)
    audio = [to_float(UtteranceReader(plain).audio(number)) for number in range(len(plain))]
    begins = set()
    for batch in windows:
        assert batch["audio"].shape == (4, 1, 1600) and batch["mel"].shape == (4, 128, 10)
        for wave, mel in zip(batch["audio"][:, 0], batch["mel"], strict=True):
            first = int(mel[0, 0])
            begins.add(first)
            assert mel[5].tolist() == list(range(first, first + 10))
            assert any(torch.equal(whole[160 * first :][:1600], wave) for whole in audio)
    assert len(begins) > 8


def test_a_short_recording_fills_its_window(corpus: Path) -> None:
    utterances = UtteranceSet.of(corpus, "train", MEL)
    batch = WindowBatches(utterances, 160 * 200, 2, 0, 1).batch(0)
    assert batch["audio"].shape == (2, 1, 32000) and not batch["audio"][..., -1000:].any()
    assert "mel" not in batch
    with pytest.raises(UserError, match="multiple of 160, not 100"):
        WindowBatches(utterances, 100, 2, 0, 1)


def test_shards_of_other_utterances_are_refused(corpus: Path, tmp_path: Path) -> None:
    make_corpus(tmp_path / "tiny", 40, per_shard=24)
    rows = list(read_shard(tmp_path / "tiny/units/part-00000.parquet"))
    from speech.storage.shards import UNITS

    write_shard(tmp_path / "tiny/units/part-00000.parquet", rows[::-1], UNITS)
    reader = UtteranceReader(UtteranceSet.of(tmp_path / "tiny", "train", MEL, "units"))
    with pytest.raises(UserError, match=r"units/part-00000.parquet: does not hold the utterances of"):
        reader.content(0)
