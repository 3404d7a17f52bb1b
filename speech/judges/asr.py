"""Pocketsphinx with the English model of its package: the embedded judge of intelligibility.

Four languages: ``open`` (the package's own language model), ``lm`` (a trigram model of the corpus's sentences),
``words`` (a grammar of the corpus's words) and ``sentences`` (a grammar whose only sentences are the corpus's own). The
less a recogniser may hear, the more forgiving it is: rates of different modes are not comparable, and each mode has its
own floor on real recordings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from speech.errors import UserError
from speech.judges.ngram import NGram
from speech.rates import SAMPLE_RATE
from speech.text import normalise_text

Mode = Literal["open", "lm", "words", "sentences"]

# Endpoint silence: the recogniser's noise tracker and mean normalisation need it, and words cut close lose their first
# consonant. Chosen on 600 training recordings of spoken digits, where 0.2 to 0.4 s and 0.003 to 0.01 lie within two
# points of each other, no padding costs fifteen points and digital silence eight.
PAD_SECONDS = 0.25
NOISE_RMS = 0.005
_NOISE_SEED = 0
_SEARCH = "judge"


class Pocketsphinx:
    """A recogniser whose answer depends on the recording alone, not on what it heard before.

    Args:
        mode: what can be recognised, see the module.
        texts: the corpus's texts, of which every mode but ``open`` makes its language.

    Attributes:
        missing: the texts' words that the pronunciation dictionary lacks, sorted. They (``words``, ``lm``) or the
            sentences with them (``sentences``) cannot be heard and so count as errors, in every system alike.

    Raises:
        UserError: pocketsphinx is not installed, or no text is left to make a language of.
    """

    def __init__(self, mode: Mode, texts: Iterable[str] = ()) -> None:
        self.mode = mode
        self.missing: tuple[str, ...] = ()
        sentences = sorted({text for text in map(normalise_text, texts) if text})
        if mode == "open":
            self._decoder = load_decoder()
        elif mode == "lm":
            self._decoder = self._with_model(sentences)
        else:
            # Only the open vocabulary needs the 30 MB language model.
            self._decoder = load_decoder(lm=None)
            self._add_grammar([tuple(sentence.split()) for sentence in sentences])

    def transcribe(self, wave: np.ndarray) -> str:
        """Recognise one recording.

        Args:
            wave: ``(T,)`` float32 in [-1, 1] at 16 kHz; it is scored between 0.25 s of faint noise on either side.

        Returns:
            Normalised words, empty when nothing was recognised.
        """
        return normalise_text(decode(self._decoder, wave))

    def _with_model(self, sentences: Sequence[str]) -> Any:
        if not sentences:
            raise self._no_language()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "corpus.arpa"
            path.write_text("\n".join(NGram(sentences).arpa()) + "\n", encoding="utf-8")
            decoder = load_decoder(lm=str(path))
        known = self._note_missing(decoder, {word for sentence in sentences for word in sentence.split()})
        if not known:
            raise self._no_language()
        return decoder

    def _note_missing(self, decoder: Any, words: set[str]) -> set[str]:
        known = {word for word in words if decoder.lookup_word(word) is not None}
        self.missing = tuple(sorted(words - known))
        return known

    def _add_grammar(self, sentences: Sequence[tuple[str, ...]]) -> None:
        known = self._note_missing(self._decoder, {word for sentence in sentences for word in sentence})
        if self.mode == "words":
            single = all(len(sentence) == 1 for sentence in sentences)
            transitions = word_grammar(sorted(known), single)
        else:
            transitions = sentence_grammar([s for s in sentences if known.issuperset(s)])
        if not transitions:
            raise self._no_language()
        self._decoder.add_fsg(_SEARCH, self._decoder.create_fsg(_SEARCH, 0, 1, transitions))
        self._decoder.activate_search(_SEARCH)

    def _no_language(self) -> UserError:
        problem = f"its dictionary lacks {', '.join(self.missing[:5])}" if self.missing else "the corpus has no text"
        return UserError(f"evaluate.asr.mode {self.mode}: no language can be made, {problem}; use mode open")


def missing_words(texts: Iterable[str]) -> list[str]:
    """List the words of ``texts`` that the pronunciation dictionary lacks, sorted; nothing else is loaded."""
    import pocketsphinx

    with Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")).open(encoding="utf-8") as lines:
        known = {line.split(None, 1)[0] for line in lines if line.strip()}
    return sorted({word for text in texts for word in normalise_text(text).split()} - known)


Transition = tuple[int, int, float] | tuple[int, int, float, str]


def word_grammar(words: Sequence[str], single: bool) -> list[Transition]:
    """Make transitions from state 0 to 1 that accept exactly one word (``single``), or one or more, equally likely."""
    transitions: list[Transition] = [(0, 1, 1.0 / len(words), word) for word in words]
    if words and not single:
        transitions.append((1, 0, 1.0))
    return transitions


def sentence_grammar(sentences: Sequence[tuple[str, ...]]) -> list[Transition]:
    """Make transitions from state 0 to state 1 that accept exactly the given sentences, sharing their beginnings."""
    states: dict[tuple[str, ...], int] = {(): 0}
    transitions: list[Transition] = []
    for sentence in sentences:
        for length in range(1, len(sentence) + 1):
            prefix = sentence[:length]
            if prefix not in states:
                # State 1 is the end; inner states count from 2.
                states[prefix] = len(states) + 1
                transitions.append((states[prefix[:-1]], states[prefix], 1.0, prefix[-1]))
        transitions.append((states[sentence], 1, 1.0))
    return transitions


def decode(decoder: Any, wave: np.ndarray) -> str:
    """Return what pocketsphinx's ``decoder`` hears in ``(T,)`` float32 at 16 kHz, whatever it heard before."""
    # Without this the noise and mean trackers carry over and the result depends on the order of recordings.
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw(_with_noise(wave), no_search=False, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return str(found.hypstr) if found else ""


def load_decoder(**settings: Any) -> Any:
    """Load a decoder with the acoustic model of the package; ``settings`` are pocketsphinx's.

    ``allphone``, a model of phones, is looked for in the package.

    Raises:
        UserError: pocketsphinx is not installed.
    """
    try:
        import pocketsphinx
    except ImportError:
        raise UserError("this judge needs pocketsphinx: pip install 'respeak[pipeline]'") from None
    if "allphone" in settings:
        settings["allphone"] = pocketsphinx.get_model_path(settings["allphone"])
    return pocketsphinx.Decoder(pocketsphinx.Config(loglevel="FATAL", **settings))


def _with_noise(wave: np.ndarray) -> bytes:
    pad = int(PAD_SECONDS * SAMPLE_RATE)
    padded = np.pad(np.asarray(wave, np.float64), pad)
    padded += NOISE_RMS * np.random.default_rng(_NOISE_SEED).standard_normal(len(padded))
    return (np.clip(padded, -1.0, 1.0) * 32767).astype("<i2").tobytes()
