"""The one set of phones that every phoneme comparison of this project goes through: the 39 of cmudict, without stress.

What recognisers and espeak-ng call a sound is brought to this set: stress, length, nasality and devoicing are dropped,
diphthongs and affricates are one phone, the flap of "water" is T, schwa and the vowel of "cut" are both AH, a syllabic
consonant is AH and the consonant. A sound that no phone of the set stands for (of another language) stays as it is, can
match nothing, and so counts as an error, in every system alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

# Each phone with the IPA sign that figures show for it, by manner, as van Niekerk et al. 2022 order theirs.
# fmt: off
PHONES = {
    "IY": "i", "IH": "ɪ", "EY": "eɪ", "EH": "ɛ", "AE": "æ", "AA": "ɑ", "AY": "aɪ", "AW": "aʊ", "AH": "ʌ", "AO": "ɔ",
    "OY": "ɔɪ", "UH": "ʊ", "OW": "oʊ", "UW": "u", "ER": "ɝ",
    "R": "ɹ", "L": "l", "W": "w", "Y": "j",
    "P": "p", "T": "t", "K": "k", "F": "f", "TH": "θ", "S": "s", "SH": "ʃ", "CH": "tʃ", "HH": "h",
    "B": "b", "D": "d", "G": "g", "V": "v", "DH": "ð", "Z": "z", "ZH": "ʒ", "JH": "dʒ",
    "M": "m", "N": "n", "NG": "ŋ",
}
_SOUNDS: dict[str, tuple[str, ...]] = {
    **{sign: (phone,) for phone, sign in PHONES.items()},
    "ɡ": ("G",), "ə": ("AH",), "ɐ": ("AH",), "ᵻ": ("IH",), "ɨ": ("IH",), "y": ("IY",),
    "e": ("EY",), "a": ("AA",), "ɒ": ("AA",), "ɑɪ": ("AY",), "o": ("OW",), "oː": ("AO",), "əʊ": ("OW",),
    "ɜ": ("ER",), "ɚ": ("ER",), "aɪɚ": ("AY", "ER"), "aɪə": ("AY", "AH"), "iə": ("IY", "AH"),
    "r": ("R",), "ʍ": ("W",), "ɾ": ("T",), "ʔ": ("T",), "x": ("K",), "ɬ": ("L",), "ɫ": ("L",),
    "n̩": ("AH", "N"), "l̩": ("AH", "L"), "m̩": ("AH", "M"),
}
# fmt: on
_SYLLABIC = "\u0329"
_LONGEST = max(map(len, _SOUNDS))
_IGNORED = re.compile("[ˈˌːˑʲʰ]")


def from_ipa(sounds: Iterable[str]) -> list[str]:
    """Map IPA sounds to phones of the set.

    Args:
        sounds: IPA, a sound or several in each string.

    >>> from_ipa(["w", "ˈɔː", "ɾ", "ɚ"])
    ['W', 'AO', 'T', 'ER']
    """
    return [phone for sound in sounds for phone in _split(_plain(sound))]


def _plain(sound: str) -> str:
    """Strip stress, ties and accents; the syllabic mark and the length of ``oː``, another vowel than o, stay."""
    decomposed = unicodedata.normalize("NFD", sound)
    kept = "".join(c for c in decomposed if c == _SYLLABIC or not unicodedata.combining(c))
    return _IGNORED.sub("", kept.replace("oː", "\0")).replace("\0", "oː")


def _split(sound: str) -> Iterator[str]:
    """Yield the longest sounds that are known, from the left."""
    start = 0
    while start < len(sound):
        for end in range(min(len(sound), start + _LONGEST), start, -1):
            if found := _SOUNDS.get(sound[start:end]):
                yield from found
                break
        else:
            end = start + 1
            yield sound[start:end]
        start = end
