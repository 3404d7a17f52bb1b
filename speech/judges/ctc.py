"""Connectionist temporal classification (Graves et al. 2006): from a network's emissions to tokens and words.

Greedy decoding takes the best token of every frame, joins repetitions and drops blanks. Beam search over a lexicon,
with or without a language model, is flashlight-text's by way of torchaudio; its language model is the corpus's own
trigrams (:mod:`speech.judges.ngram`), so neither KenLM nor a file is needed.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speech.errors import UserError
from speech.judges.ngram import END, START, NGram
from speech.text import normalise_text

WORD_END, UNKNOWN = "|", "<unk>"
IMPOSSIBLE = -99.0
# torchaudio's tutorial on CTC decoding with a language model: weight of log10 P, and the score of a word.
BEAM, LM_WEIGHT, WORD_SCORE = 100, 3.23, -0.26


def greedy(emissions: np.ndarray, tokens: Sequence[str], blank: int) -> list[str]:
    """Return the best path's tokens.

    Args:
        emissions: ``(T, V)`` scores of V tokens, the higher the likelier.
        tokens: their names.
        blank: index of the blank.
    """
    best = (index for index, _ in itertools.groupby(np.argmax(emissions, axis=1).tolist()))
    return [tokens[index] for index in best if index != blank]


def spell(tokens: Sequence[str], special: Sequence[str] = ()) -> str:
    """Spell characters as normalised words; ``|`` ends one, ``special`` tokens are left out."""
    return normalise_text("".join(" " if token == WORD_END else token for token in tokens if token not in special))


def spellings(texts: Sequence[str], tokens: Sequence[str]) -> dict[str, list[str]]:
    """Spell the words of texts in the network's characters, closed by ``|``; those that it cannot spell are left out.

    A network of capitals spells in capitals.
    """
    known = set(tokens)
    found = {}
    for word in sorted({word for text in texts for word in text.split()}):
        for letters in (word, word.upper()):
            if known.issuperset(letters):
                found[word] = [*letters, WORD_END]
                break
    return found


class LexiconDecoder:
    """Beam search for words of the corpus.

    Args:
        texts: the corpus's texts.
        tokens: the network's tokens.
        blank: index of the blank.
        with_lm: weigh word sequences by a trigram model of the texts; otherwise all are alike.

    Raises:
        UserError: flashlight-text is not installed, or no word of the texts can be spelled.
    """

    def __init__(self, texts: Sequence[str], tokens: Sequence[str], blank: int, with_lm: bool) -> None:
        sentences = sorted({text for text in map(normalise_text, texts) if text})
        lexicon = spellings(sentences, tokens)
        if not lexicon or WORD_END not in tokens:
            raise UserError("evaluate.asr.mode: the judge's letters spell no word of the corpus; use open")
        self._decoder = _flashlight(lexicon, tokens, blank, NGram(sentences) if with_lm else None)

    def __call__(self, emissions: np.ndarray) -> str:
        """Find the best sequence of words for ``(T, V)`` log-probabilities."""
        import torch

        found = self._decoder(torch.from_numpy(np.ascontiguousarray(emissions, np.float32))[None])
        return " ".join(found[0][0].words) if found[0] else ""


def _flashlight(lexicon: Mapping[str, list[str]], tokens: Sequence[str], blank: int, model: NGram | None) -> Any:
    try:
        from torchaudio.models.decoder import ctc_decoder
    except (ImportError, RuntimeError):
        raise UserError(
            "evaluate.asr.mode: words and lm of this judge need flashlight-text: pip install 'respeak[judges]'"
        ) from None
    words = [*lexicon, UNKNOWN]
    # The decoder reads its lexicon from a file, and the order of words, by which a language model is asked, too.
    with tempfile.TemporaryDirectory() as folder:
        spelled, order = Path(folder) / "lexicon.txt", Path(folder) / "words.txt"
        spelled.write_text("".join(f"{word} {' '.join(letters)}\n" for word, letters in lexicon.items()))
        order.write_text("".join(f"{word}\n" for word in words))
        return ctc_decoder(
            lexicon=str(spelled),
            tokens=list(tokens),
            lm=None if model is None else _language_model(model, words),
            lm_dict=str(order),
            beam_size=BEAM,
            lm_weight=0.0 if model is None else LM_WEIGHT,
            word_score=WORD_SCORE,
            blank_token=tokens[blank],
            sil_token=WORD_END,
            unk_word=UNKNOWN,
        )


def _language_model(model: NGram, words: Sequence[str]) -> Any:
    """Give the trigrams the form that flashlight asks: a state is a history, a score log10 P as KenLM's."""
    from torchaudio.models.decoder import CTCDecoderLM, CTCDecoderLMState

    class Trigrams(CTCDecoderLM):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            # Holding the states also keeps them alive for the decoder.
            self.histories: dict[Any, tuple[str, ...]] = {}

        def start(self, start_with_nothing: bool) -> Any:
            self.histories = {}
            state = CTCDecoderLMState()
            self.histories[state] = (START,)
            return state

        def score(self, state: Any, word: int) -> tuple[Any, float]:
            after = state.child(word)
            history = self.histories[state]
            self.histories.setdefault(after, (*history, words[word])[-model.order + 1 :])
            return after, _log10(model.probability(words[word], history))

        def finish(self, state: Any) -> tuple[Any, float]:
            return state, _log10(model.probability(END, self.histories[state]))

    return Trigrams()


def _log10(probability: float) -> float:
    return math.log10(probability) if probability > 0 else IMPOSSIBLE
