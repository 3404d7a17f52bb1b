"""A corpus's make-up and its faults, known before anything is trained: one pass, each recording once.

In memory are counts, seconds by speaker and eight bytes per recording, whatever the size of the corpus.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from speech.audio.decode import IsolatedDecoder
from speech.audio.waveforms import SILENCE_PEAK, Wave, quantise, trim_bounds
from speech.corpora import Entry, Listing
from speech.errors import AudioError
from speech.rates import SAMPLE_RATE

FULL_SCALE = 0.999
QUIET_PEAK = 0.01  # -40 dBFS: what is in there may be noise
CLIPPED_RUN = 3  # neighbouring samples at full scale that one loud sample does not make
TRIM_DB = 40.0  # as audio.trim_db
MIN_SECONDS, MAX_SECONDS = 0.1, 40.0  # as audio.min_seconds and audio.max_seconds
MAX_REJECT_FRACTION = 0.05  # as runtime.max_reject_fraction
FEW_SECONDS = 60.0  # of one speaker: too few to learn a voice by
MUCH_SILENCE = 0.3
NAMED = 3  # recordings named in a finding


@dataclass(frozen=True)
class Scale:
    """A scale's demands on a corpus: feature dimensions, F0 speed in seconds of audio per processor-second, training.

    ``training_seconds`` is the audio that training hears: steps times batch times segment.
    """

    feature_dim: int
    f0_speed: float
    training_seconds: float


# Measured speeds of the F0 trackers; sizes as in conf/ (a test holds them equal).
DIO, YAAPT = 126.0, 14.0
SCALES = {
    "smoke": Scale(39, DIO, 10 * 4 * 8960 / SAMPLE_RATE),
    "demo": Scale(39, DIO, 2400 * 6 * 8960 / SAMPLE_RATE),
    "small": Scale(39, DIO, 30_000 * 32 * 8960 / SAMPLE_RATE),
    "paper": Scale(768, YAAPT, 400_000 * 16 * 8960 / SAMPLE_RATE),
}
FLAC_BYTES = 29_000  # per second of 16 kHz speech, as the shards hold it
UNIT_RATE, F0_RATE = 50, 200


Level = Literal["blocks", "look"]


@dataclass(frozen=True)
class Finding:
    """A fact worth knowing: it blocks a training, or deserves a look."""

    level: Level
    text: str


@dataclass(frozen=True)
class Needs:
    """The cost of a scale: bytes of shards, processor-hours of F0 tracking, passes of training over the corpus."""

    disk_bytes: float
    f0_hours: float
    passes: float


@dataclass
class Named:
    """A count, and the names of the first few that are counted."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(name)


@dataclass
class Audit:
    """Running counts over a corpus's recordings; seconds are those of the recordings as they are."""

    recordings: int = 0
    seconds: float = 0.0
    speech_seconds: float = 0.0
    shortest: float = math.inf
    longest: float = 0.0
    with_text: int = 0
    rates: Counter[int] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    speakers: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    unusable: Named = field(default_factory=Named)
    clipped: Named = field(default_factory=Named)
    quiet: Named = field(default_factory=Named)
    duplicates: Named = field(default_factory=Named)
    leaks: Named = field(default_factory=Named)
    _split_of: dict[bytes, str] = field(default_factory=dict)

    def add(self, entry: Entry, wave: Wave, rate: int) -> None:
        """Count one recording: ``(T,) float32`` at ``rate`` Hz."""
        if reason := unusable_reason(wave, rate):
            self.unusable.add(f"{entry.path}: {reason}")
            return
        seconds = len(wave) / rate
        # Before resampling, so to within a few frames of what the stage will cut.
        start, end = trim_bounds(wave, TRIM_DB)
        self.recordings += 1
        self.seconds += seconds
        self.speech_seconds += (end - start) / rate
        self.shortest, self.longest = min(self.shortest, seconds), max(self.longest, seconds)
        self.with_text += entry.text is not None
        self.rates[rate] += 1
        self.splits[entry.split] += 1
        self.speakers[entry.speaker] += seconds
        if is_clipped(wave):
            self.clipped.add(entry.path)
        if np.abs(wave).max() < QUIET_PEAK:
            self.quiet.add(entry.path)
        digest = hashlib.blake2b(quantise(wave).tobytes(), digest_size=8).digest()
        if digest in self._split_of:
            (self.duplicates if self._split_of[digest] == entry.split else self.leaks).add(entry.path)
        self._split_of.setdefault(digest, entry.split)

    def findings(self) -> list[Finding]:
        """List what blocks a training first, then what is worth a look."""
        total = self.recordings + self.unusable.count
        first = f"; {self.unusable.first[0]}" if self.unusable.first else ""
        if not self.recordings:
            return [Finding("blocks", f"no usable recording among {total}{first}")]
        found = [*self._blocking(total), *self._worth_a_look()]
        return [Finding(level, text) for level, text in found]

    def _blocking(self, total: int) -> Iterator[tuple[Level, str]]:
        bad, listed = self.unusable.count, "; ".join(self.unusable.first)
        if bad > MAX_REJECT_FRACTION * total:
            yield "blocks", f"{bad} of {total} recordings cannot be used, above {MAX_REJECT_FRACTION:.0%}: {listed}"
        elif bad:
            yield "look", f"{bad} of {total} recordings cannot be used and would be left out: {listed}"
        for split in ("train", "valid", "test"):
            if not self.splits[split]:
                yield "blocks", f"no recording is for '{split}'"
        if self.leaks.count:
            yield "blocks", f"{self.leaks.count} recordings are in two splits: {', '.join(self.leaks.first)}"

    def _worth_a_look(self) -> Iterator[tuple[Level, str]]:
        listed = (self.duplicates, "occur twice"), (self.clipped, "are clipped"), (self.quiet, "are nearly silent")
        for named, what in listed:
            if named.count:
                yield "look", f"{named.count} recordings {what}: {', '.join(named.first)}"
        low = sum(count for rate, count in self.rates.items() if rate < SAMPLE_RATE)
        if low:
            yield "look", f"{low} recordings have a rate below {SAMPLE_RATE} Hz: nothing is there above half of it"
        few = sorted(name for name, seconds in self.speakers.items() if seconds < FEW_SECONDS)
        if few:
            yield "look", f"{len(few)} speakers have less than {FEW_SECONDS:g} s: {', '.join(few[:NAMED])}"
        if self.with_text < self.recordings:
            yield "look", f"{self.recordings - self.with_text} recordings have no text: no word error rates for them"
        silence = 1 - self.speech_seconds / self.seconds
        if silence > MUCH_SILENCE:
            yield "look", f"{silence:.0%} is silence at the ends, which audio.trim_db cuts"

    def needs(self, scale: Scale) -> Needs:
        """Return what a scale takes for this corpus."""
        seconds = self.speech_seconds
        features = seconds * UNIT_RATE * scale.feature_dim * 2
        other = seconds * (FLAC_BYTES + UNIT_RATE * 2 + F0_RATE * 4)
        return Needs(
            disk_bytes=features + other,
            f0_hours=seconds / scale.f0_speed / 3600,
            passes=scale.training_seconds / max(seconds, 1.0),
        )


def audit(listing: Listing, decoder: IsolatedDecoder, counts: Audit) -> Iterator[None]:
    """Read every recording of a listing, one at each step, and count it in ``counts``."""
    for name, reason in listing.rejects:
        counts.unusable.add(f"{name}: {reason}")
    for entry in listing.entries:
        path = listing.base / entry.path
        try:
            counts.add(entry, *decoder.read(path))
        except AudioError as error:
            counts.unusable.add(f"{entry.path}: {str(error).removeprefix(f'{path}: ')}")
        yield


def unusable_reason(wave: Wave, rate: int) -> str | None:
    """Return why the stage ``audio`` would set ``(T,)`` aside, with its default limits; None if it would not."""
    seconds = len(wave) / rate
    if not np.isfinite(wave).all():
        return "holds non-finite samples"
    if seconds > MAX_SECONDS:
        return f"lasts {seconds:.0f} s, longer than {MAX_SECONDS:g} s"
    if not len(wave) or np.ptp(wave.astype(np.float64)) / 2 < SILENCE_PEAK:
        return "is silent"
    start, end = trim_bounds(wave, TRIM_DB)
    if (end - start) / rate < MIN_SECONDS:
        return f"has {(end - start) / rate:.2f} s of speech, shorter than {MIN_SECONDS:g} s"
    return None


def is_clipped(wave: Wave) -> bool:
    """Return whether a few neighbouring samples lie at full scale, which loud but whole peaks do not."""
    loud = np.abs(wave) >= FULL_SCALE
    runs = np.convolve(loud, np.ones(CLIPPED_RUN), mode="valid") if len(wave) >= CLIPPED_RUN else np.zeros(1)
    return bool((runs >= CLIPPED_RUN).any())
