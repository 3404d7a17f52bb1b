"""Pocketsphinx as a phoneme recogniser, with the acoustic and the phone trigram model of its package.

Its phones are cmudict's (:mod:`speech.phonemes`), for its acoustic model was trained on that dictionary. Phones are
searched without their neighbours: with them errors fall by a tenth, at sixty times the cost. It is a poor listener: on
real sentences read aloud it mistakes half of the phones; see the row of ground truth in every table.
"""

from __future__ import annotations

import numpy as np

from speech.judges.asr import decode, load_decoder
from speech.phonemes import PHONES

# Of the phone trigrams, and how much less likely than the best a path may become. Chosen on 16 recordings of LJSpeech:
# weights of 1 to 2 lie within three points of each other, 4 costs four, and wider beams cost a quarter more time.
LM_WEIGHT = 1.5
BEAM, PHONE_BEAM = 1e-20, 1e-10


class Allphone:
    """A recogniser of phones whose answer depends on the recording alone.

    Raises:
        UserError: pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        self._decoder = load_decoder(
            lm=None, dict=None, allphone="en-us/en-us-phone.lm.bin", lw=LM_WEIGHT, beam=BEAM, pbeam=PHONE_BEAM
        )

    def phones(self, wave: np.ndarray) -> list[str]:
        """Recognise :data:`speech.phonemes.PHONES` in ``(T,)`` float32 at 16 kHz; pauses and noises are left out."""
        return [phone for phone in decode(self._decoder, wave).split() if phone in PHONES]
