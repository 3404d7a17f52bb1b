"""Corpus adapters on the real corpora's layouts, and the demo corpus against its own transcript and timings."""

from __future__ import annotations

import csv
import itertools
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speech.corpora import CORPORA, Listing, prepare
from speech.corpora.espeak import Utterance, synthesize
from speech.corpora.folder import speaker_of
from speech.corpora.listing import DIGITS, Entry, seeded_splits
from speech.errors import UserError
from speech.storage.manifest import check_rejects, manifest_rows

PROMPTS = Path(__file__).resolve().parents[2] / "speech" / "corpora" / "prompts"


def read(adapter: str, root: Path, out: Path | None = None, **options: Any) -> Listing:
    return prepare(adapter, root, out or root, 1234, options)


def sound(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), np.random.default_rng(seed).normal(0, 0.1, 1600), 16000)
    return path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    return read("demo", PROMPTS, tmp_path_factory.mktemp("demo"), sentences=4, digits=3)


def test_demo_is_the_same_to_the_sample(demo: Listing, tmp_path: Path) -> None:
    again = read("demo", PROMPTS, tmp_path, sentences=4, digits=3)
    assert list(again.entries) == list(demo.entries)
    for entry in demo.entries:
        assert (demo.base / entry.path).read_bytes() == (again.base / entry.path).read_bytes(), entry.id


def test_what_is_spoken_does_not_depend_on_what_was_spoken_before() -> None:
    breathy, other = Utterance("Fresh air.", "en-us+f2"), Utterance("A cold wind.", "en-us+m3", pitch=80)
    alone = next(iter(synthesize([breathy]))).samples
    assert np.array_equal(alone, list(synthesize([other, breathy]))[1].samples)


def test_every_demo_voice_has_every_split_and_no_sentence_crosses(demo: Listing, tmp_path: Path) -> None:
    target = read("demo", PROMPTS, tmp_path, voices="target", sentences=4, digits=3)
    assert len({e.speaker for e in demo.entries}) == 8
    assert not {e.speaker for e in demo.entries} & {e.speaker for e in target.entries}
    splits, texts = defaultdict(set), defaultdict(set)
    for entry in [*demo.entries, *target.entries]:
        splits[entry.speaker].add(entry.split)
        if "-digit-" in entry.id:
            assert entry.text in DIGITS
        else:
            texts[entry.split].add(entry.text)
    assert all(found == {"train", "valid", "test"} for found in splits.values())
    assert not texts["train"] & (texts["valid"] | texts["test"])


def test_demo_voices_differ_in_pitch_and_timings_lie_in_the_recording(demo: Listing) -> None:
    import pyworld

    f0 = defaultdict(list)
    for entry in demo.entries:
        wave, rate = soundfile.read(demo.base / entry.path)
        assert entry.phones
        assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(entry.phones))
        assert 0 <= entry.phones[0].start < entry.phones[-1].end <= len(wave) / rate + 1e-9
        if "sentence" in entry.id:
            track, _ = pyworld.dio(wave, rate, 60, 500)
            f0[entry.speaker].extend(track[track > 0])
    medians = sorted(float(np.median(values)) for values in f0.values())
    assert medians[-1] / medians[0] > 2.5
    assert sum(b / a > 1.04 for a, b in itertools.pairwise(medians)) >= 6


def test_phone_timings_find_the_vowel() -> None:
    spoken = next(iter(synthesize([Utterance("six", "en-us+m3")])))
    wave = spoken.samples / 32768
    level = {p.phone: float(np.std(wave[int(p.start * 22050) : int(p.end * 22050)])) for p in spoken.phones}
    vowel = "\N{LATIN LETTER SMALL CAPITAL I}"
    assert [p.phone for p in spoken.phones] == ["s", vowel, "k", "s"]
    assert level[vowel] == max(level.values())


def test_unknown_voices_and_impossible_options_name_themselves(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nobody"):
        next(iter(synthesize([Utterance("six", "en-us+nobody")])))
    for options, word in (
        ({"voices": "many"}, "voices"),
        ({"sentences": 2}, "sentences"),
        ({"digits": "ten"}, "digits"),
        ({"digits": True}, "digits"),
        ({"volume": 3}, "unknown option 'volume'"),
    ):
        with pytest.raises(UserError, match=word):
            read("demo", PROMPTS, tmp_path, **options)
    with pytest.raises(UserError, match="known are demo, fsdd, librispeech, folder"):
        read("timit", PROMPTS)


@pytest.mark.parametrize("adapter", sorted(CORPORA))
@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_missing_and_empty_corpora_name_the_folder_and_the_layout(tmp_path: Path, adapter: str, exists: bool) -> None:
    root = tmp_path / "corpus"
    if exists:
        root.mkdir()
    with pytest.raises(UserError, match="expected") as error:
        read(adapter, root)
    assert str(root) in str(error.value)
    assert "\n" not in str(error.value)


def test_fsdd_has_its_own_split(shared: Path) -> None:
    listing = read("fsdd", shared / "data/free-spoken-digit-dataset")
    assert len(listing.entries) == 3000
    assert Counter(e.split for e in listing.entries) == {"train": 2580, "valid": 120, "test": 300}
    entry = next(e for e in listing.entries if e.id == "7_jackson_3")
    assert (entry.text, entry.speaker, entry.split) == ("seven", "jackson", "test")
    few = read("fsdd", shared / "data/free-spoken-digit-dataset", speakers=["theo"])
    assert {e.speaker for e in few.entries} == {"theo"}
    with pytest.raises(UserError, match="jackson"):
        read("fsdd", shared / "data/free-spoken-digit-dataset", speakers=["nobody"])


def test_fsdd_sets_foreign_names_aside(tmp_path: Path) -> None:
    sound(tmp_path / "recordings/3_theo_1.wav")
    sound(tmp_path / "recordings/notes.wav")
    listing = read("fsdd", tmp_path)
    assert [e.id for e in listing.entries] == ["3_theo_1"]
    assert listing.rejects[0][0] == "recordings/notes.wav"


def test_librispeech_reads_text_where_there_is_some_and_holds_out_speakers_of_single_utterances(shared: Path) -> None:
    listing = read("librispeech", shared / "data/LibriSpeech")
    by_split = defaultdict(list)
    for entry in listing.entries:
        by_split[entry.split].append(entry)
    assert {split: len(entries) for split, entries in by_split.items()} == {"train": 238, "valid": 13, "test": 100}
    assert all(e.text is None for e in by_split["train"])
    assert all(e.text and e.text == e.text.lower() for e in by_split["test"])
    assert len({e.speaker for e in by_split["train"]} | {e.speaker for e in by_split["valid"]}) == 251
    with pytest.raises(UserError, match="dev-clean"):
        read("librispeech", shared / "data/LibriSpeech", subsets=["dev-clean"])
    with pytest.raises(UserError, match="music"):
        read("librispeech", shared / "data/LibriSpeech", subsets=["music"])


def test_librispeech_without_test_subset_shares_out_train(tmp_path: Path) -> None:
    for number in range(20):
        sound(tmp_path / f"train-clean-100/19/198/19-198-{number:04d}.flac")
    listing = read("librispeech", tmp_path, valid_share=0.1, test_share=0.2)
    assert Counter(e.split for e in listing.entries) == {"train": 14, "valid": 2, "test": 4}
    assert listing == read("librispeech", tmp_path, valid_share=0.1, test_share=0.2)


@pytest.mark.parametrize(
    ("rule", "path", "speaker"),
    [
        ("folder", "ann/one/a_1.wav", "ann"),
        ("parent", "ann/one/a_1.wav", "one"),
        ("grandparent", "ann/one/a_1.wav", "ann"),
        ("grandparent", "one/a_1.wav", ""),
        ("prefix", "ann/one/a_1.wav", "a"),
        ("prefix", "p225_001_mic2.flac", "p225"),
        ("single", "a_1.wav", "A"),
    ],
)
def test_a_rule_says_who_speaks(rule: str, path: str, speaker: str) -> None:
    assert speaker_of(path, rule) == speaker


def test_flat_folders_name_their_speakers_in_the_files(tmp_path: Path) -> None:
    for name in ("p1_a.wav", "p1_b.wav", "p2_a.wav"):
        sound(tmp_path / name)
    assert {e.speaker for e in read("folder", tmp_path, speaker="prefix").entries} == {"p1", "p2"}
    with pytest.raises(UserError, match="'surname' is not one of"):
        read("folder", tmp_path, speaker="surname")


def test_folders_of_speakers_have_unique_ids_at_any_depth(tmp_path: Path) -> None:
    for name in ("ann/a.wav", "ann/deep/er/a.flac", "bob/a.wav", "bob/a.flac", "bob/.hidden.wav", "stray.wav"):
        sound(tmp_path / name)
    listing = read("folder", tmp_path)
    ids = [e.id for e in listing.entries]
    assert len(set(ids)) == 4
    assert {"ann--a", "ann--deep--er--a"} < set(ids)
    assert [path for path, _ in listing.rejects] == ["stray.wav"]
    assert {e.speaker for e in listing.entries} == {"ann", "bob"}
    assert {e.speaker for e in listing.entries if e.split == "train"} == {"ann", "bob"}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables_of_recordings(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"path": "a.wav", "speaker": "ann", "text": "hello, world", "split": "dev"},
        {"path": "b.wav", "speaker": "bob", "text": "", "split": ""},
    ]
    table = tmp_path / f"corpus{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), table)
    else:
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    ann, bob = read("folder", table, language="de").entries
    assert (ann.text, ann.split, ann.language) == ("hello, world", "valid", "de")
    assert (bob.text, bob.split) == (None, "train")
    assert read("folder", table).base == tmp_path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("path,text\na.wav,hi\n", "column 'speaker' is missing; found path, text"),
        ("path,speaker\n", "no rows"),
        ("", "column 'path' is missing"),
        ("path,speaker\na.wav,\n", "row 1 has no speaker"),
        ("path,speaker,split\na.wav,ann,exam\n", "split 'exam'"),
        ("path,speaker\nä.wav,ann\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_bad_tables_say_what_is_wrong(tmp_path: Path, content: str | bytes, reason: str) -> None:
    table = tmp_path / "corpus.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=reason):
        read("folder", table)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    valid=st.floats(0, 0.4),
    test=st.floats(0, 0.4),
)
def test_splits_keep_every_speaker_in_train(sizes: list[int], seed: int, valid: float, test: float) -> None:
    groups = {f"{speaker}-{number}": str(speaker) for speaker, size in enumerate(sizes) for number in range(size)}
    splits = seeded_splits(groups, seed, valid, test)
    assert splits.keys() == groups.keys()
    assert splits == seeded_splits(dict(reversed(groups.items())), seed, valid, test)
    if max(sizes) == 1:
        return
    for speaker, size in enumerate(sizes):
        counts = Counter(split for id_, split in splits.items() if groups[id_] == str(speaker))
        assert counts["train"] >= 1
        if size >= 3 and test > 0 and valid > 0:
            assert counts["test"] >= 1
            assert counts["valid"] >= 1


def test_speakers_of_one_utterance_each_are_held_out_whole() -> None:
    splits = seeded_splits({f"{speaker}-0": str(speaker) for speaker in range(40)}, 1, 0.05, 0.1)
    assert Counter(splits.values()) == {"train": 34, "valid": 2, "test": 4}


def test_other_languages_are_spoken_for_testing(tmp_path: Path) -> None:
    few = {"sentences": 3, "digits": 0}
    listings = {code: read("demo", PROMPTS, tmp_path / code, language=code, **few) for code in ("fr", "af")}
    for code, listing in listings.items():
        assert {(e.split, e.language) for e in listing.entries} == {("test", code)}
        assert len({e.text for e in listing.entries}) == len(listing.entries) == 24
    phones = {code: {p.phone for e in listing.entries for p in e.phones} for code, listing in listings.items()}
    assert "\N{LATIN SMALL LETTER ALPHA}\N{COMBINING TILDE}" in phones["fr"], "a nasal vowel"
    with pytest.raises(UserError, match="no digits in 'fr'"):
        read("demo", PROMPTS, tmp_path, language="fr", sentences=3)
    with pytest.raises(UserError, match="one of en, fr, af"):
        read("demo", PROMPTS, tmp_path, language="nl", **few)


def test_shares_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    sound(tmp_path / "ann/a.wav")
    with pytest.raises(UserError, match="valid_share"):
        read("folder", tmp_path, valid_share=0.6, test_share=0.6)


def test_manifest_rejects_unreadable_headers_and_refuses_double_ids(tmp_path: Path) -> None:
    sound(tmp_path / "ann/b.wav")
    sound(tmp_path / "ann/a.wav")
    (tmp_path / "ann/broken.wav").write_bytes(b"RIFF")
    listing = read("folder", tmp_path)
    rows, rejects = manifest_rows(listing)
    assert [(row["id"], row["sample_rate"], row["num_samples"]) for row in rows] == [
        ("ann--a", 16000, 1600),
        ("ann--b", 16000, 1600),
    ]
    assert [(r["path"], r["stage"]) for r in rejects] == [("ann/broken.wav", "corpus")]
    assert not rejects[0]["reason"].startswith(str(tmp_path))
    double = Listing(
        tmp_path, [Entry("x", "ann/a.wav", "ann", None, "train"), Entry("x", "b.wav", "ann", None, "train")]
    )
    with pytest.raises(UserError, match=r"'x' occurs twice: ann/a\.wav and b\.wav"):
        manifest_rows(double)


def test_too_many_rejects_name_the_first() -> None:
    rejects = [{"path": "a.wav", "stage": "audio", "reason": "is silent"}]
    check_rejects("corpus", 9, rejects, 0.1)
    with pytest.raises(UserError, match=r"1 of 9 .* a.wav: is silent"):
        check_rejects("corpus", 8, rejects, 0.1)
    with pytest.raises(UserError, match="no usable recording"):
        check_rejects("corpus", 0, rejects, 1.0)
