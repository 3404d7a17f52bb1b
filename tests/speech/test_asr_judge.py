from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile

from speech.audio.waveforms import resample
from speech.errors import UserError
from speech.judges.asr import Mode, Pocketsphinx, missing_words, sentence_grammar, word_grammar

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def digit_clips(shared: Path, take: int) -> list[tuple[int, np.ndarray]]:
    clips = []
    for speaker in ("jackson", "lucas", "theo", "yweweler"):
        for digit in range(10):
            path = shared / f"data/free-spoken-digit-dataset/recordings/{digit}_{speaker}_{take}.wav"
            wave, rate = soundfile.read(path, dtype="float32")
            clips.append((digit, resample(0.95 * wave / np.abs(wave).max(), rate)))
    return clips


def test_most_real_digits_are_recognised_in_any_order(shared: Path) -> None:
    judge = Pocketsphinx("words", [str(digit) for digit in range(10)])
    clips = digit_clips(shared, take=0)
    heard = [judge.transcribe(wave) for _, wave in clips]
    right = sum(word == DIGITS[digit] for word, (digit, _) in zip(heard, clips, strict=True))
    assert right >= 0.75 * len(clips)
    assert [judge.transcribe(wave) for _, wave in clips[15::-1]] == heard[15::-1]


def test_noise_is_not_recognised_as_the_right_digit(shared: Path) -> None:
    judge = Pocketsphinx("words", DIGITS)
    rng = np.random.default_rng(0)
    heard = [judge.transcribe(0.1 * rng.standard_normal(8000).astype(np.float32)) for _ in range(20)]
    right = sum(word == DIGITS[i % 10] for i, word in enumerate(heard))
    assert right <= 6


def test_sentences_are_told_apart(shared: Path) -> None:
    folder = shared / "data/LJSpeech-1.1"
    texts = dict(line.split("|")[::2] for line in (folder / "metadata.csv").read_text().splitlines())
    name = "LJ001-0002"
    wave, rate = soundfile.read(next((folder / "wavs").glob(f"{name}.*")), dtype="float32")
    for mode in ("sentences", "lm"):
        judge = Pocketsphinx(cast(Mode, mode), texts.values())
        assert judge.transcribe(resample(wave, rate)) == "in being comparatively modern"


def test_unknown_words_are_named_and_left_out() -> None:
    judge = Pocketsphinx("words", ["one xyzzyplugh", "two"])
    assert judge.missing == ("xyzzyplugh",) == tuple(missing_words(["one xyzzyplugh", "two"]))
    assert Pocketsphinx("lm", ["one xyzzyplugh", "two"]).missing == ("xyzzyplugh",)
    assert judge.transcribe(np.zeros(1600, np.float32)) in ("", "one", "two")
    with pytest.raises(UserError, match="lacks xyzzyplugh"):
        Pocketsphinx("sentences", ["one xyzzyplugh"])
    with pytest.raises(UserError, match="lacks xyzzyplugh"):
        Pocketsphinx("lm", ["xyzzyplugh"])
    for mode in ("words", "sentences", "lm"):
        with pytest.raises(UserError, match="no text"):
            Pocketsphinx(cast(Mode, mode), [])


def accepts(transitions: list, words: tuple[str, ...]) -> bool:
    def closure(states: set[int]) -> set[int]:
        more = {t[1] for t in transitions if len(t) == 3 and t[0] in states} - states
        return closure(states | more) if more else states

    states = closure({0})
    for word in words:
        states = closure({t[1] for t in transitions if t[0] in states and t[3:] == (word,)})
    return 1 in states


def test_grammars_accept_what_they_should() -> None:
    sentences = [("a", "b"), ("a", "b", "c"), ("d",)]
    grammar = sentence_grammar(sentences)
    assert all(accepts(grammar, sentence) for sentence in sentences)
    assert not any(accepts(grammar, wrong) for wrong in [("a",), ("d", "a"), ("b",), ()])
    assert accepts(word_grammar(["a", "b"], single=False), ("a", "b", "a"))
    assert not accepts(word_grammar(["a", "b"], single=True), ("a", "b"))
    assert accepts(word_grammar(["a", "b"], single=True), ("b",))
