from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile

from speech.audio.waveforms import resample
from speech.corpora.espeak import Pronouncer
from speech.judges.allphone import Allphone
from speech.metrics.phoneme_metrics import count_phoneme_errors, errors_by_phoneme, phoneme_rates
from speech.phonemes import PHONES, from_ipa
from speech.text import normalise_text

COMMON = "the water of a small river runs under an old stone bridge where eighty children laugh and sing all morning"


@pytest.fixture(scope="module")
def pronounce() -> Iterator[Pronouncer]:
    pronouncer = Pronouncer()
    yield pronouncer
    pronouncer.close()


@pytest.fixture(scope="module")
def cmudict() -> dict[str, list[str]]:
    """The public dictionary, as pocketsphinx's package has it."""
    import pocketsphinx

    lines = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")).read_text().splitlines()
    return {word: phones for word, *phones in map(str.split, lines)}


def test_the_set_is_cmudicts(cmudict: dict[str, list[str]]) -> None:
    assert set(PHONES) == {phone for phones in cmudict.values() for phone in phones}
    assert len(set(PHONES.values())) == 39


def test_espeak_pronounces_as_the_dictionary_does(pronounce: Pronouncer, cmudict: dict[str, list[str]]) -> None:
    words = COMMON.split()
    said = [from_ipa(pronounce(word)) for word in words]
    assert {phone for phones in said for phone in phones} <= set(PHONES)
    wrong = sum(count_phoneme_errors(cmudict[w], s).phoneme_errors for w, s in zip(words, said, strict=True))
    assert wrong <= 0.1 * sum(len(cmudict[word]) for word in words)


def test_a_text_is_pronounced_clause_by_clause_and_the_same_each_time(pronounce: Pronouncer) -> None:
    first = pronounce("one, two. three")
    assert from_ipa(first) == ["W", "AH", "N", "T", "UW", "TH", "R", "IY"]
    pronounce("something else entirely, with a croissant")
    assert pronounce("one, two. three") == first
    assert pronounce("") == []


@pytest.mark.parametrize(
    ("sounds", "phones"),
    [
        (["w", "ˈɔː", "ɾ", "ɚ"], "W AO T ER"),  # water
        (["ʃ", "oːɹ"], "SH AO R"),  # shore
        (["b", "ˈʌ", "ʔ", "n̩"], "B AH T AH N"),  # button
        (["f", "ˈaɪɚ"], "F AY ER"),  # fire
        (["t͡ʃ", "iː", "z"], "CH IY Z"),
        (["t", "ʃ"], "T SH"),  # two sounds, no affricate
        (["k", "ʁ", "a"], "K ʁ AA"),  # a sound that English lacks stays what it is
        (["ɑ̃"], "AA"),
    ],
)
def test_sounds_of_the_international_alphabet(sounds: list[str], phones: str) -> None:
    assert from_ipa(sounds) == phones.split()


def random_phones(rng: np.random.Generator, low: int) -> list[str]:
    return [str(phone) for phone in rng.choice(["AA", "B", "K", "IY"], rng.integers(low, 12))]


def test_rates_are_jiwers_and_the_phonemes_errors_add_up() -> None:
    rng = np.random.default_rng(0)
    pairs = [(random_phones(rng, 1), random_phones(rng, 0)) for _ in range(60)]
    counts = [count_phoneme_errors(*pair) for pair in pairs]
    texts = [[" ".join(phones) for phones in side] for side in zip(*pairs, strict=True)]
    assert sum(c.phoneme_errors for c in counts) / sum(c.phones for c in counts) == jiwer.wer(*texts)
    split = [errors_by_phoneme(*pair) for pair in pairs]
    found = jiwer.process_words(*texts)
    wrong = sum(errors for one in split for errors, _ in one.values())
    assert wrong == found.substitutions + found.deletions
    assert sum(said for one in split for _, said in one.values()) == sum(c.phones for c in counts)


def test_a_planted_confusion_is_that_phonemes_alone() -> None:
    said = ["TH", "IH", "S", "IH", "Z", "DH", "AH", "TH", "IH", "NG"]
    rows = [
        {"phones": 10, "phones_said": " ".join(said), "phones_heard": " ".join(heard)}
        for heard in ([*said], [("F" if phone == "TH" else phone) for phone in said])
    ]
    rates = phoneme_rates([*rows, {"phones": None, "phones_said": None, "phones_heard": None}], 200, 0)
    assert (rates["TH"].count, rates["TH"].errors, rates["TH"].rate.value) == (4, 2, 50.0)
    assert (rates["TH"].rate.low, rates["TH"].rate.high) == (0.0, 100.0)
    assert {rate.errors for phone, rate in rates.items() if phone != "TH"} == {0}
    assert next(iter(rates)) == "IH", "the most frequent comes first"
    with pytest.raises(ValueError, match="without phones"):
        count_phoneme_errors([], ["AA"])


def test_real_speech_is_heard_better_than_another_sentence(shared: Path, pronounce: Pronouncer) -> None:
    folder = shared / "data/LJSpeech-1.1"
    texts = dict(line.split("|")[::2] for line in (folder / "metadata.csv").read_text().splitlines())
    judge = Allphone()
    names = ("LJ001-0002", "LJ001-0008", "LJ001-0012")
    heard, said = [], [from_ipa(pronounce(normalise_text(texts[name]))) for name in names]
    for name in names:
        wave, rate = soundfile.read(folder / f"wavs/{name}.flac", dtype="float32")
        heard.append(judge.phones(resample(wave, rate)))
        assert set(heard[-1]) <= set(PHONES)
    assert judge.phones(resample(wave, rate)) == heard[-1]
    assert rate_of(said, heard) < 60
    assert rate_of(said, [*heard[1:], heard[0]]) > 75
    assert judge.phones(np.zeros(8000, np.float32)) == []


def rate_of(said: list[list[str]], heard: list[list[str]]) -> float:
    counts = [count_phoneme_errors(*pair) for pair in zip(said, heard, strict=True)]
    return 100 * sum(c.phoneme_errors for c in counts) / sum(c.phones for c in counts)
