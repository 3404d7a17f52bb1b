from __future__ import annotations

import jiwer
import numpy as np
import pytest

from speech.metrics.words import count_errors
from speech.text import normalise_text, spell_number

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "nine", "mice"]


def test_corpus_rates_are_jiwers() -> None:
    rng = np.random.default_rng(0)
    references = [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(50)]
    hypotheses = [" ".join(rng.choice(WORDS, rng.integers(0, 9))) for _ in range(50)]
    counts = [count_errors(r, h) for r, h in zip(references, hypotheses, strict=True)]
    wer = sum(c.word_errors for c in counts) / sum(c.words for c in counts)
    cer = sum(c.char_errors for c in counts) / sum(c.chars for c in counts)
    assert wer == pytest.approx(jiwer.wer(references, hypotheses))
    assert cer == pytest.approx(jiwer.cer(references, hypotheses))


@pytest.mark.parametrize("deleted", [0, 1, 4, 10])
def test_deleted_words_are_counted_one_by_one(deleted: int) -> None:
    counts = count_errors(" ".join(WORDS), " ".join(WORDS[deleted:]))
    assert (counts.word_errors, counts.words) == (deleted, 10)
    assert counts.chars == len(" ".join(WORDS))


def test_an_empty_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="without words"):
        count_errors("", "one")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It\u2019s 7 o'clock \u2014 caf\u00e9, 1,024!", "it's seven o'clock cafe one thousand twenty four"),
        ("'quoted' rock-and-roll", "quoted rock and roll"),
        ("007 & 50%", "zero zero seven and fifty percent"),
        ("  ... ", ""),
        ("3rd", "three rd"),
        ("MISTER QUILTER", "mister quilter"),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalise_text(text) == expected
    assert normalise_text(expected) == expected


@pytest.mark.parametrize(
    ("digits", "words"),
    [("0", "zero"), ("19", "nineteen"), ("80", "eighty"), ("110", "one hundred ten"), ("1000001", "one million one")],
)
def test_numbers(digits: str, words: str) -> None:
    assert spell_number(digits) == words
