"""An n-gram language model of a corpus's own sentences, for recognisers that take one.

Interpolated Witten-Bell estimates (Chen & Goodman 1999, section 2.4): what follows a history h is

    P(w | h) = (c(hw) + T(h) P(w | h')) / (c(h) + T(h)),

with T(h) the number of different words that follow h, h' the history without its first word, and a uniform distribution
over the vocabulary at the end. Nothing is unseen, nothing need be tuned, and a corpus of one sentence has a model.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

START, END = "<s>", "</s>"
# ARPA's logarithm of never.
_NEVER = -99.0

Words = tuple[str, ...]


class NGram:
    """An n-gram model with its counts.

    Args:
        sentences: normalised, words separated by blanks; empty ones do not count.
        order: longest n-gram.

    Attributes:
        vocabulary: words of the sentences and ``</s>``, sorted.

    Raises:
        ValueError: there is no sentence.
    """

    def __init__(self, sentences: Iterable[str], order: int = 3) -> None:
        self.order = order
        self._follow: dict[Words, Counter[str]] = defaultdict(Counter)
        for sentence in sentences:
            if words := sentence.split():
                self._count([START, *words, END])
        if not self._follow:
            raise ValueError("a language model needs a sentence")
        self.vocabulary = sorted(self._follow[()])
        self._totals = {history: counts.total() for history, counts in self._follow.items()}

    def _count(self, words: list[str]) -> None:
        for end in range(1, len(words)):
            for length in range(min(self.order, end + 1)):
                self._follow[tuple(words[end - length : end])][words[end]] += 1

    def probability(self, word: str, history: Words = ()) -> float:
        """Return P(word | history) by the last ``order - 1`` words of the history; 0 outside of the vocabulary."""
        if word not in self._follow[()]:
            return 0.0
        history = history[len(history) - min(self.order - 1, len(history)) :]
        probability = 1.0 / len(self.vocabulary)
        for start in range(len(history), -1, -1):
            known = self._follow.get(history[start:])
            if known:
                kinds, total = len(known), self._totals[history[start:]]
                probability = (known[word] + kinds * probability) / (total + kinds)
        return probability

    def arpa(self) -> Iterator[str]:
        r"""Yield the model's lines in the ARPA format, logarithms to base 10.

        Interpolated estimates are written as back-off ones: what was not seen after h has T(h) / (c(h) + T(h)) times
        its probability after h'.
        """
        grams = {length: sorted(self._grams(length)) for length in range(1, self.order + 1)}
        yield "\\data\\"
        for length, found in grams.items():
            yield f"ngram {length}={len(found)}"
        for length, found in grams.items():
            yield f"\n\\{length}-grams:"
            for gram in found:
                chance = _NEVER if gram == (START,) else math.log10(self.probability(gram[-1], gram[:-1]))
                backoff = "" if length == self.order else f"\t{self._backoff(gram):.6f}"
                yield f"{chance:.6f}\t{' '.join(gram)}{backoff}"
        yield "\n\\end\\"

    def _grams(self, length: int) -> Iterator[Words]:
        if length == 1:
            yield (START,)
        for history, counts in list(self._follow.items()):
            if len(history) == length - 1:
                yield from ((*history, word) for word in counts)

    def _backoff(self, history: Words) -> float:
        known = self._follow.get(history)
        return math.log10(len(known) / (self._totals[history] + len(known))) if known else 0.0
