"""The demo corpus: sentences and digit words synthesized by espeak-ng, nothing to download.

Eight voices of clearly different pitch (about 80 to 250 Hz) and timbre, and a ninth for a second corpus of one target
voice; with the default options about 14 minutes at 22.05 kHz. Exact text, phone timings, the same to the sample each
time. Speed and pitch vary a little from utterance to utterance, so that no two renditions of a word are equal. The
sentences were written for this project; nobody reads validation and test sentences in train, here or in the
target voice. French and Afrikaans sentences, by the same eight voices, are all for testing: something to convert. Made
with espeak-ng (GPL-3.0, https://github.com/espeak-ng/espeak-ng); its output is not covered by it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from speech.corpora.espeak import RATE, Utterance, synthesize
from speech.corpora.listing import DIGITS, SPLITS, Entry, Listing, shuffle_key
from speech.errors import UserError

LAYOUT = "sentences.txt (of other languages sentences.fr.txt, sentences.af.txt), one sentence per line"
# By the code of a language: the voice of espeak-ng for it.
LANGUAGES = {"en": "en-us", "fr": "fr", "af": "af"}
# Of the prompts, and of what each voice reads: fractions that are for validation and for testing.
VALID_SHARE, TEST_SHARE = 0.1, 0.15


@dataclass(frozen=True)
class Voice:
    """An espeak voice variant (formants, breath, intonation) and its middle pitch on espeak's scale of 0-100."""

    variant: str
    pitch: int


# Chosen among espeak's variants by the distance of their d-vectors and of their median F0.
VOICES = {
    "alba": Voice("Alicia", 50),
    "boris": Voice("quincy", 55),
    "conrad": Voice("david", 55),
    "dorian": Voice("m2", 70),
    "edgar": Voice("kaukovalta", 50),
    "felix": Voice("Hugo", 62),
    "gemma": Voice("Nguyen", 50),
    "helen": Voice("shelby", 45),
}
TARGET = {"irene": Voice("f5", 50)}


@dataclass(frozen=True)
class Prompt:
    """A text to be synthesized in one voice."""

    speaker: str
    kind: str
    number: int
    text: str
    split: str

    @property
    def id(self) -> str:
        """The utterance's id, also the name of its file."""
        return f"{self.speaker}-{self.kind}-{self.number:03d}"


def prepare(
    root: Path,
    out: Path,
    seed: int,
    *,
    voices: str = "all",
    sentences: int = 40,
    digits: int = 20,
    language: str = "en",
) -> Listing:
    """Synthesize the corpus into ``out/recordings/<speaker>/``, every file anew.

    Whoever owns ``out`` publishes it whole.

    Args:
        root: folder with ``sentences.txt``.
        out: where the recordings go.
        seed: draws which sentences are for which split and the variation of speed and pitch.
        voices: ``all`` (eight), or ``target`` (a ninth).
        sentences: sentences per voice, 0 or at least 3, so that every split has one.
        digits: digit words per voice, 0 or at least 3.
        language: en, fr or af; the latter two have no digits and are for testing alone.

    Raises:
        UserError: an impossible option, no sentences at ``root``, or espeak-ng failed.
    """
    if language not in LANGUAGES:
        raise UserError(f"corpus adapter 'demo': option 'language' must be one of {', '.join(LANGUAGES)}")
    if language != "en" and digits:
        raise UserError(f"corpus adapter 'demo': there are no digits in '{language}'; set option 'digits' to 0")
    if voices not in ("all", "target"):
        raise UserError(f"corpus adapter 'demo': option 'voices' must be all or target, not '{voices}'")
    for name, count in (("sentences", sentences), ("digits", digits)):
        if count < 0 or 0 < count < len(SPLITS):
            raise UserError(f"corpus adapter 'demo': option '{name}' must be 0 or at least {len(SPLITS)}, not {count}")
    cast = VOICES if voices == "all" else TARGET
    if language == "en":
        pools = _sentence_pools(_read_sentences(root / "sentences.txt"), seed)
        prompts = [
            prompt
            for speaker in cast
            for prompt in (*_sentence_prompts(speaker, pools, sentences, seed), *_digit_prompts(speaker, digits, seed))
        ]
    else:
        prompts = list(_test_prompts(cast, _read_sentences(root / f"sentences.{language}.txt"), sentences, seed))
    return Listing(out, list(_synthesize(prompts, cast, out, seed, language)))


def _read_sentences(path: Path) -> list[str]:
    root = path.parent
    if not path.is_file():
        raise UserError(f"{root}: no prompts found; expected {LAYOUT}")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    lines = sorted({line for line in lines if line})
    if len(lines) < 2 * len(SPLITS):
        raise UserError(f"{path}: {len(lines)} sentences are too few; expected {LAYOUT}, at least {2 * len(SPLITS)}")
    return lines


def _sentence_pools(sentences: list[str], seed: int) -> dict[str, list[str]]:
    """Divide texts into splits. No option changes which is in which, so corpora with one seed never mix them."""
    shuffled = sorted(sentences, key=lambda text: shuffle_key(seed, text))
    num_test, num_valid = _shares(len(shuffled))
    return {
        "test": shuffled[:num_test],
        "valid": shuffled[num_test : num_test + num_valid],
        "train": shuffled[num_test + num_valid :],
    }


def _sentence_prompts(speaker: str, pools: dict[str, list[str]], count: int, seed: int) -> Iterator[Prompt]:
    """Yield the sentences of one voice.

    Every voice reads the same test and validation sentences, so that a conversion can be held against the target's own
    rendition; in train each has its own draw, for variety.
    """
    num_test, num_valid = _shares(count)
    wanted = {"train": count - num_test - num_valid, "valid": num_valid, "test": num_test}
    number = 0
    for split in SPLITS:
        pool = pools[split]
        if split == "train":
            pool = sorted(pool, key=lambda text: shuffle_key(seed, f"{speaker}/{text}"))
        for index in range(wanted[split]):
            yield Prompt(speaker, "sentence", number, pool[index % len(pool)], split)
            number += 1


def _test_prompts(cast: Iterable[str], texts: list[str], count: int, seed: int) -> Iterator[Prompt]:
    """Yield ``count`` sentences of each voice, dealt out so that the voices together read as many as there are."""
    shuffled = sorted(texts, key=lambda text: shuffle_key(seed, text))
    for place, speaker in enumerate(cast):
        for number in range(count):
            yield Prompt(speaker, "sentence", number, shuffled[(place * count + number) % len(shuffled)], "test")


def _digit_prompts(speaker: str, count: int, seed: int) -> Iterator[Prompt]:
    order = sorted(range(count), key=lambda number: shuffle_key(seed, f"{speaker}/digit/{number}"))
    num_test, num_valid = _shares(count)
    split_of = {
        number: "test" if rank < num_test else "valid" if rank < num_test + num_valid else "train"
        for rank, number in enumerate(order)
    }
    for number in range(count):
        yield Prompt(speaker, "digit", number, DIGITS[number % len(DIGITS)], split_of[number])


def _shares(count: int) -> tuple[int, int]:
    if count == 0:
        return 0, 0
    return max(1, round(TEST_SHARE * count)), max(1, round(VALID_SHARE * count))


def _synthesize(prompts: list[Prompt], cast: dict[str, Voice], out: Path, seed: int, language: str) -> Iterator[Entry]:
    import soundfile

    for speaker in cast:
        (out / "recordings" / speaker).mkdir(parents=True, exist_ok=True)
    utterances = [_utterance(prompt, cast[prompt.speaker], seed, LANGUAGES[language]) for prompt in prompts]
    for prompt, made in zip(prompts, synthesize(utterances), strict=True):
        path = f"recordings/{prompt.speaker}/{prompt.id}.flac"
        soundfile.write(str(out / path), made.samples, RATE, subtype="PCM_16")
        text = prompt.text.lower().strip(".?!").replace(",", "")
        yield Entry(prompt.id, path, prompt.speaker, text, prompt.split, language, made.phones)


def _utterance(prompt: Prompt, voice: Voice, seed: int, language_voice: str) -> Utterance:
    draw = random.Random(f"{seed}/{prompt.id}")  # noqa: S311 - variation, nothing secret
    return Utterance(
        text=prompt.text,
        voice=f"{language_voice}+{voice.variant}",
        words_per_minute=draw.randint(145, 180),
        pitch=voice.pitch + draw.randint(-6, 6),
        pitch_range=draw.randint(40, 60),
    )
