"""Word and character error rates, counted per utterance so that rates are of the whole set and can be resampled.

A rate is (substitutions + deletions + insertions) / reference length over all utterances, not a mean of the
utterances' rates: the convention of the papers' ASR toolkits, and the one in which short utterances do not weigh more.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WordCounts:
    """Errors of one utterance and the length they are counted against."""

    word_errors: int
    words: int
    char_errors: int
    chars: int


def count_errors(reference: str, hypothesis: str) -> WordCounts:
    """Count Levenshtein errors in words and characters (spaces count) between normalised texts.

    Args:
        reference: what was said, as :func:`speech.text.normalise_text` returns it; not empty.
        hypothesis: what was recognised, likewise normalised; may be empty (all deletions).

    Raises:
        ValueError: the reference has no words; a rate against it is undefined.
    """
    import jiwer

    if not reference.split():
        raise ValueError("a reference without words has no error rate; leave the utterance out")
    words = jiwer.process_words(reference, hypothesis)
    chars = jiwer.process_characters(reference, hypothesis)
    return WordCounts(
        word_errors=words.substitutions + words.deletions + words.insertions,
        words=words.hits + words.substitutions + words.deletions,
        char_errors=chars.substitutions + chars.deletions + chars.insertions,
        chars=chars.hits + chars.substitutions + chars.deletions,
    )
