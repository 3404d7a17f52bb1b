"""espeak-ng through ctypes on the library inside the pip package ``espeakng_loader``: text to samples and phones.

The library keeps hidden state from one utterance to the next (oscillator phases, random numbers seeded by the clock),
so a fork of a freshly initialised helper with fixed seeds synthesizes each utterance: its sound depends on nothing but
its own text and settings. Interface: espeak-ng's ``speak_lib.h``. GPL-3.0, used as a program.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech.audio.child import Answer, Child, ChildDiedError, serve
from speech.corpora.listing import Phone
from speech.errors import UserError

RATE = 22050

_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 1, 2, 0x8000
_IPA = 0x02  # of espeak_TextToPhonemes; the sign between phonemes is in the bits from 8 on
_PARAMETERS = {"words_per_minute": 1, "volume": 2, "pitch": 3, "pitch_range": 4}
_CHARS_UTF8 = 1
_LIST_END, _PHONEME = 0, 7
_STRESS = str.maketrans("", "", "ˈˌ")
_SEED = 1


@dataclass(frozen=True)
class Utterance:
    """A text and how it is read: an espeak voice such as ``en-us+f5``; pitch, pitch_range and volume of 0-100."""

    text: str
    voice: str
    words_per_minute: int = 165
    pitch: int = 50
    pitch_range: int = 50
    volume: int = 70


@dataclass(frozen=True)
class Synthesized:
    """A synthesized utterance: ``samples`` (T,) int16 at 22.05 kHz, and phones in order with gaps for pauses."""

    samples: NDArray[np.int16]
    phones: list[Phone]


def synthesize(utterances: Iterable[Utterance]) -> Iterator[Synthesized]:
    """Synthesize utterances one after another, the same to the sample each time.

    Raises:
        UserError: espeak-ng is not installed, does not know a voice, or failed on a text.
    """
    with Child("speech.corpora.espeak", "main") as child:
        for utterance in utterances:
            try:
                header, samples = child.ask(asdict(utterance))
            except ChildDiedError as death:
                raise UserError(f"espeak-ng {death.reason} on '{utterance.text}' in voice {utterance.voice}") from None
            if "error" in header:
                raise UserError(header["error"])
            yield Synthesized(np.frombuffer(samples, "<i2"), [Phone(*phone) for phone in header["phones"]])


class Pronouncer:
    """A pronouncer of text by espeak-ng's rules and dictionary, in a helper process that lives until :meth:`close`."""

    def __init__(self, voice: str = "en-us") -> None:
        self.voice = voice
        self._child = Child("speech.corpora.espeak", "main")

    def __call__(self, text: str) -> list[str]:
        """Pronounce a text: IPA phonemes, stress marks included, pauses and word limits left out.

        Raises:
            UserError: espeak-ng is not installed, does not know the voice, or failed on the text.
        """
        try:
            header, _ = self._child.ask({"pronounce": text, "voice": self.voice})
        except ChildDiedError as death:
            raise UserError(f"espeak-ng {death.reason} on '{text}' in voice {self.voice}") from None
        if "error" in header:
            raise UserError(header["error"])
        return [str(sound) for sound in header["sounds"]]

    def close(self) -> None:
        """End the helper."""
        self._child.close()


def main() -> None:
    """Run the helper process."""
    serve(_answer)


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@functools.cache
def _library() -> ctypes.CDLL:
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
    if library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data, options) != RATE:
        raise RuntimeError(f"espeak-ng could not be initialised with the data at {data.decode()}")
    library.espeak_SetVoiceByName(b"en-us")  # reads the list of voices, once instead of in every fork
    return library


def _answer(request: dict[str, Any]) -> Answer:
    try:
        _library()
    except ModuleNotFoundError:
        return {"error": "espeak-ng is not installed; install the Python package espeakng-loader"}, b""
    if "pronounce" in request:
        return _pronounce(request["pronounce"], request["voice"])
    reader, writer = os.pipe()
    fork = os.fork()
    if fork == 0:
        os.close(reader)
        header, samples = _speak(Utterance(**request))
        with os.fdopen(writer, "wb") as out:
            out.write(json.dumps(header).encode() + b"\n" + samples)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        line, samples = answer.readline(), answer.read()
    _, status = os.waitpid(fork, 0)
    if status:
        return {"error": f"espeak-ng failed on '{request['text']}' in voice {request['voice']} (status {status})"}, b""
    return json.loads(line), samples


def _speak(utterance: Utterance) -> Answer:
    library = _library()
    chunks: list[bytes] = []
    marks: list[tuple[int, str]] = []

    def receive(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != _LIST_END:
            if events[index].type == _PHONEME:
                label = bytes(events[index].id.string).split(b"\0")[0].decode("utf-8", "replace")
                marks.append((events[index].sample, label.translate(_STRESS)))
            index += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    if not _has_variant(utterance.voice) or library.espeak_SetVoiceByName(utterance.voice.encode()) != 0:
        return {"error": f"espeak-ng has no voice '{utterance.voice}'"}, b""
    for name, number in _PARAMETERS.items():
        library.espeak_SetParameter(number, getattr(utterance, name), 0)
    ctypes.CDLL(None).srand(_SEED)
    library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
    text = utterance.text.encode() + b"\0"
    if library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, _CHARS_UTF8, None, None) != 0:
        return {"error": f"espeak-ng could not synthesize '{utterance.text}'"}, b""
    samples = b"".join(chunks)
    return {"phones": _phones(marks, len(samples) // 2)}, samples


def _pronounce(text: str, voice: str) -> Answer:
    """Pronounce clause by clause; unlike synthesis this leaves no state behind, so no fork is needed."""
    library = _library()
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        return {"error": f"espeak-ng has no voice '{voice}'"}, b""
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    rest = ctypes.c_char_p(text.encode())
    clauses = []
    while rest.value is not None:
        clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), _CHARS_UTF8, ord("_") << 8 | _IPA) or b"")
    # A word of another language is announced as "(fr)", and its end as "(en-us)".
    spelled = re.sub(r"\([a-z-]*\)", " ", b" ".join(clauses).decode("utf-8", "replace"))
    return {"sounds": [sound for sound in re.split(r"[_\s]+", spelled) if sound]}, b""


def _has_variant(voice: str) -> bool:
    """Return whether the variant exists: for an unknown one, ``en-us+nobody``, espeak-ng takes the plain voice."""
    import espeakng_loader

    _, _, variant = voice.partition("+")
    return not variant or (Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant).is_file()


def _phones(marks: list[tuple[int, str]], num_samples: int) -> list[Phone]:
    """Make intervals of start marks; an empty label is a pause.

    A consonant that espeak renders inside the vowel before it starts at the same sample as the phone that follows:
    it has no interval of its own and joins that vowel's label.
    """
    phones: list[Phone] = []
    ends = [sample for sample, _ in marks[1:]] + [num_samples]
    for (start, label), end in zip(marks, ends, strict=True):
        if not label.strip("_"):
            continue
        if end > start:
            phones.append(Phone(label, start / RATE, end / RATE))
        elif phones:
            phones[-1] = phones[-1]._replace(phone=phones[-1].phone + label)
    return phones
