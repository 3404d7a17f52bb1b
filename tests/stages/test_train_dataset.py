from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from speech.errors import UserError
from speech.storage.shards import UNITS, read_shard, write_shard
from stages.data.batches import loader
from stages.data.segments import Cut, SegmentBatches, SegmentReader, cut_segment
from stages.data.utterance_index import CorpusStreams, Stream, UtteranceIndex, build_index
from tests.stages.tiny_corpus import STATS, make_corpus

STREAMS: tuple[Stream, ...] = ("audio", "units", "f0")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[CorpusStreams, ...]:
    root = tmp_path_factory.mktemp("corpora")
    for name, utterances in (("first", 21), ("second", 12)):
        make_corpus(root / name, utterances)
    return tuple(CorpusStreams(root / name, STREAMS) for name in ("first", "second"))


@pytest.fixture(scope="module")
def index(corpora: tuple[CorpusStreams, ...]) -> UtteranceIndex:
    return build_index(corpora, "train")


def segments(index: UtteranceIndex, stop: int, **options: int) -> SegmentBatches:
    return SegmentBatches(index, Cut(8960, "hz"), index.speakers, 4, 7, stop, **options)


def test_an_epoch_takes_every_utterance_once(index: UtteranceIndex) -> None:
    stream = segments(index, 1)
    taken = Counter(stream.utterance(position) for position in range(3 * len(index)))
    assert set(taken.values()) == {3}
    assert len(taken) == len(index)
    first, second = ([stream.utterance(e * len(index) + i) for i in range(len(index))] for e in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != second


def test_ranks_and_workers_share_without_loss(index: UtteranceIndex) -> None:
    alone = list(segments(index, 6))
    ranks = [list(loader(segments(index, 6, rank=rank, world=2), workers=2)) for rank in (0, 1)]
    assert len(ranks[0]) == len(ranks[1]) == 6
    for whole, *parts in zip(alone, *ranks, strict=True):
        for name, values in whole.items():
            assert torch.equal(values, torch.cat([part[name] for part in parts])), name


def test_resuming_gives_the_batches_that_were_left(index: UtteranceIndex) -> None:
    whole, rest = list(segments(index, 5)), list(segments(index, 5, start=3))
    assert len(rest) == 2
    for expected, got in zip(whole[3:], rest, strict=True):
        assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_streams_are_cut_at_the_same_place(index: UtteranceIndex) -> None:
    batch = segments(index, 1).batch(0)
    assert batch["audio"].shape == (4, 1, 8960)
    assert batch["units"].shape == (4, 28)
    assert batch["f0"].shape == (4, 1, 112)
    assert batch["audio"].abs().max() <= 1
    # The corpus is silent and unvoiced in the first 640 samples of each utterance, and nowhere else.
    silent = batch["audio"].view(4, 112, 80).abs().amax(2) == 0
    assert torch.equal(silent, batch["f0"][:, 0] == 0)


def test_f0_is_normalised_by_the_speaker(index: UtteranceIndex) -> None:
    reader = SegmentReader(index, "hz")
    raw = {row["id"]: row["f0"] for row in read_shard(index.corpora[0].directory / "f0" / "part-00000.parquet")}
    mean, std = STATS[index.speaker[0]]
    expected = np.where(raw["u000"] > 0, (raw["u000"] - mean) / std, 0)
    np.testing.assert_allclose(reader.read(0)["f0"], expected, atol=1e-5)


def test_short_utterances_are_repeated() -> None:
    streams: dict[Stream, np.ndarray] = {
        "audio": np.arange(2560, dtype=np.int16),
        "units": np.arange(8),
        "f0": np.arange(32.0),
    }
    pieces = cut_segment(streams, 8960, np.random.default_rng(0))
    assert len(pieces["audio"]) == 8960
    first = int(pieces["audio"][0])
    expected = (np.arange(8960) + first) % 2560
    assert np.array_equal(pieces["audio"], expected)
    assert np.array_equal(pieces["units"], expected[::320] // 320)
    assert np.array_equal(pieces["f0"], expected[::80] // 80)


def test_decoded_audio_stays_within_its_budget(index: UtteranceIndex) -> None:
    reader = SegmentReader(index, "hz", cache_bytes=50_000)
    for number in range(len(index)):
        reader.read(number)
    assert 0 < sum(samples.nbytes for samples in reader._audio.values()) <= 50_000


def test_missing_split_and_wrong_lengths_are_user_errors(corpora: tuple[CorpusStreams, ...]) -> None:
    with pytest.raises(UserError, match="no utterance of split 'test'"):
        build_index(corpora, "test")
    with pytest.raises(UserError, match="multiple of 1280"):
        Cut(9000, "hz")


def test_mismatched_shards_are_a_user_error(tmp_path: Path) -> None:
    make_corpus(tmp_path / "c", 8)
    path = tmp_path / "c" / "units" / "part-00000.parquet"
    rows = [dict(row, id="x" + row["id"]) for row in read_shard(path)]
    write_shard(path, rows, UNITS, {})
    index = build_index([CorpusStreams(tmp_path / "c", STREAMS)], "train")
    with pytest.raises(UserError, match="same utterances"):
        SegmentReader(index, "hz").read(0)


def test_an_utterances_vector_goes_with_it(tmp_path: Path) -> None:
    make_corpus(tmp_path / "c", 8)
    index = build_index([CorpusStreams(tmp_path / "c", (*STREAMS, "speakers"))], "train")
    batch = segments(index, 1).batch(0)
    assert batch["vector"].shape == (4, 256) and batch["units"].shape == (4, 28)
    # The corpus gives every speaker a vector with a single one, at the speaker's place.
    assert torch.equal(batch["vector"].argmax(1), batch["speaker"])
