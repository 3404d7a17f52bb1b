"""The audit against recordings whose faults are known, and against what conf/ asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir

from speech.audio.decode import IsolatedDecoder
from speech.audit import MAX_REJECT_FRACTION, MAX_SECONDS, MIN_SECONDS, SCALES, TRIM_DB, Audit, audit, is_clipped
from speech.corpora import Listing, prepare


def hear(listing: Listing) -> Audit:
    counts = Audit()
    with IsolatedDecoder() as decoder:
        assert len(list(audit(listing, decoder, counts))) == len(listing.entries)
    return counts


def test_real_keywords_and_books_are_as_their_files_say(shared: Path) -> None:
    words = hear(prepare("speech_commands", shared / "data/speech_commands_v0.01", Path(), 1, {}))
    assert (words.recordings, words.unusable.count) == (249, 0)
    assert words.quiet.first == ["two/51055bda_nohash_4.wav"]
    assert 3.5 < words.seconds / 60 < 4.5
    assert words.rates.keys() == {16000}
    listing = prepare("librispeech", shared / "data/LibriSpeech", Path(), 1, {"subsets": ["test-other"]})
    books = hear(Listing(listing.base, listing.entries[:30]))
    assert (books.recordings, books.unusable.count, books.with_text) == (30, 0, 30)
    lengths = [soundfile.info(listing.base / e.path).duration for e in listing.entries[:30]]
    assert books.seconds == pytest.approx(sum(lengths))
    assert (books.shortest, books.longest) == (min(lengths), max(lengths))
    assert [f.text for f in books.findings() if f.level == "blocks"] == [
        "no recording is for 'train'",
        "no recording is for 'valid'",
    ]


@pytest.fixture()
def faulty(tmp_path: Path) -> Path:
    """Two speakers with one of each fault."""
    rng = np.random.default_rng(0)

    def write(name: str, wave: np.ndarray, rate: int = 16000) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, wave, rate, subtype="PCM_16")

    for number in range(40):
        write(f"ann/{number:02d}.wav", rng.normal(0, 0.1, 8000))
    twin = (rng.normal(0, 0.1, 8000) * 32768).astype(np.int16)
    write("ann/twin-a.wav", twin)
    write("ann/twin-b.flac", twin)
    write("bob/clipped.wav", np.clip(rng.normal(0, 0.1, 8000) + 3 * np.sin(np.arange(8000) / 40), -1, 1))
    write("bob/low.wav", rng.normal(0, 0.1, 4000), 8000)
    return tmp_path


def test_every_fault_is_found_and_named(faulty: Path) -> None:
    soundfile.write(faulty / "bob/silent.wav", np.zeros(8000), 16000)
    (faulty / "bob/broken.wav").write_bytes(b"RIFFxxxx")
    listing = prepare("folder", faulty, faulty, 3, {"valid_share": 0.1, "test_share": 0.1})
    counts = hear(listing)
    texts = "\n".join(f"{f.level}: {f.text}" for f in counts.findings())
    assert counts.recordings == 44
    assert "look: 2 of 46 recordings cannot be used and would be left out: bob/broken.wav: " in texts
    assert "bob/silent.wav: is silent" in texts
    assert "1 recordings are clipped: bob/clipped.wav" in texts
    assert "1 recordings have a rate below 16000 Hz" in texts
    assert "2 speakers have less than 60 s: ann, bob" in texts
    assert "44 recordings have no text" in texts
    splits = {e.path: e.split for e in listing.entries}
    if splits["ann/twin-a.wav"] == splits["ann/twin-b.flac"]:
        assert "look: 1 recordings occur twice: ann/twin-b.flac" in texts
    else:
        assert "blocks: 1 recordings are in two splits: ann/twin-b.flac" in texts


@pytest.mark.parametrize("same", [True, False])
def test_a_twin_in_another_split_blocks(faulty: Path, same: bool) -> None:
    table = faulty / "corpus.csv"
    rows = [("ann/00.wav", "train"), ("ann/01.wav", "valid"), ("ann/02.wav", "test"), ("ann/twin-a.wav", "train")]
    rows.append(("ann/twin-b.flac", "train" if same else "test"))
    table.write_text("path,speaker,split\n" + "".join(f"{path},ann,{split}\n" for path, split in rows))
    found = hear(prepare("folder", table, faulty, 1, {})).findings()
    blocks = [f.text for f in found if f.level == "blocks"]
    assert blocks == ([] if same else ["1 recordings are in two splits: ann/twin-b.flac"])


def test_too_many_that_cannot_be_used_block(faulty: Path) -> None:
    for number in range(3):
        (faulty / f"ann/broken-{number}.wav").write_bytes(b"")
    counts = hear(prepare("folder", faulty, faulty, 1, {}))
    assert any(
        "3 of 47 recordings cannot be used, above 5%" in f.text for f in counts.findings() if f.level == "blocks"
    )
    nothing = hear(Listing(faulty, [], [("a.wav", "is silent")]))
    assert nothing.findings()[0].text == "no usable recording among 1; a.wav: is silent"


def test_a_loud_peak_is_not_clipping() -> None:
    wave = np.zeros(100, np.float32)
    wave[[10, 11, 50]] = 1.0
    assert not is_clipped(wave)
    wave[12] = -1.0
    assert is_clipped(wave)


def composed(scale: str) -> Any:
    conf = Path(__file__).resolve().parents[2] / "conf"
    with initialize_config_dir(str(conf), version_base=None):
        return compose("config", [f"scale={scale}"])


@pytest.mark.parametrize("scale", sorted(SCALES))
def test_scales_are_those_of_conf(scale: str) -> None:
    params, known = composed(scale), SCALES[scale]
    loop = params.train_resynthesis.loop
    assert known.training_seconds == loop.steps * loop.batch_size * loop.segment_samples / 16000
    assert known.feature_dim == {"mfcc": 39, "hubert": 768}[params.encoder.kind]
    assert known.f0_speed == {"dio": 126.0, "yaapt": 14.0}[params.f0.method]


def test_limits_are_those_of_conf() -> None:
    params = composed("demo")
    limits = (params.audio.min_seconds, params.audio.max_seconds, params.audio.trim_db)
    assert limits == (MIN_SECONDS, MAX_SECONDS, TRIM_DB)
    assert params.runtime.max_reject_fraction == MAX_REJECT_FRACTION


def test_needs_grow_with_the_corpus() -> None:
    one, two = Audit(recordings=1, speech_seconds=3600.0), Audit(recordings=1, speech_seconds=7200.0)
    small, large = one.needs(SCALES["paper"]), two.needs(SCALES["paper"])
    assert large.disk_bytes == 2 * small.disk_bytes
    assert small.f0_hours == pytest.approx(1 / 14)
    assert small.passes == pytest.approx(400_000 * 16 * 0.56 / 3600)
    assert 3600 * 50 * 768 * 2 < small.disk_bytes < 3600 * 50 * 768 * 2 * 2
