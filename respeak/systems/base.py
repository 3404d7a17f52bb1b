"""The contract of a system: what it declares of itself, and what it does with recordings.

Whoever calls a system (command line, hub, MLflow's model, stage ``synthesize``) asks for what stands here and nothing
else. A system is a package ``respeak/systems/<name>`` whose module ``system`` defines one subclass of :class:`System`
called by that name; :mod:`respeak.systems.registry` finds it.

Importing a system's module is light: torch is imported when a bundle is opened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import numpy as np

from speech.errors import UserError, some_of
from speech.intonation import UNCHANGED, Intonation

if TYPE_CHECKING:
    from respeak.encoders.unit_encoder import UnitEncoder
    from respeak.voices import Voice


class Control(StrEnum):
    """A change that a caller may ask for beside the words; the value is its name in messages."""

    TARGET = "target by name"
    RECORDING = "target by recording"
    SOURCE = "source speaker"
    OWN_VOICE = "recording's own voice"
    PITCH = "pitch"
    PITCH_RANGE = "pitch range"
    MELODY = "melody"
    UNITS = "units"
    DURATIONS = "units without repetitions"
    STREAMING = "streaming"


class Stream(StrEnum):
    """A stream of a source corpus that a system reads; the value is the folder in ``data/<corpus>``."""

    AUDIO = "audio"
    UNITS = "units"
    F0 = "f0"
    ENERGY = "energy"
    SPEAKERS = "speakers"


class Task(StrEnum):
    """A task that stage ``synthesize`` has a system do with a recording.

    ``copy`` and ``vocode`` leave the recording's own sound: as it is, or through a vocoder.
    """

    COPY = "copy"
    VOCODE = "vocode"
    RESYNTHESIS = "resynthesis"
    CONVERSION = "conversion"


OWN_SOUND = (Task.COPY, Task.VOCODE)


@dataclass(frozen=True)
class Source:
    """An utterance of a corpus.

    Attributes:
        id: unique in its corpus.
        speaker: the name of its speaker.
        num_speech: samples at 16 kHz before padding.
        streams: what the system asked for: ``audio`` encoded, ``units`` (N,) uint16, ``f0`` (4 N,) float32 in Hz.
    """

    id: str
    speaker: str
    num_speech: int
    streams: Mapping[Stream, Any]


@dataclass(frozen=True)
class Rendering:
    """An utterance to be synthesized in the voice ``target``, with another's melody where one is given."""

    source: Source
    target: str
    melody: Source | None = None


@dataclass(frozen=True)
class Manner:
    """The manner in which all renderings of an experiment are made.

    Attributes:
        task: what is done.
        units: the recording's own, ``shuffled`` with ``seed``, or ``deduplicated``: lasting as the system thinks right.
        intonation: what is done to the melody.
        seed: of what is drawn.
        strangers: speakers, sources and targets, whom the system does not know, with what their corpora know of them.
    """

    task: Task
    units: Literal["own", "shuffled", "deduplicated"] = "own"
    intonation: Intonation = UNCHANGED
    seed: int = 0
    strangers: Mapping[str, Voice] = field(default_factory=dict)


class System(ABC):
    """A trained system, loaded from its bundle.

    A subclass declares, beside what it does:

    Attributes:
        name: its one spelling, that of its package, of ``system`` in its bundles and of ``--system``.
        takes: the controls that it takes; a bundle may take fewer, see `takes_of`.
        tasks: what stage ``synthesize`` may have it do.
        bundled: whether it is loaded from a bundle.
        bundle_keys: keys that ``config.yaml`` must have beside those of every bundle, dotted, with their types.
        bundle_files: files that a bundle must hold beside ``config.yaml``.
        usual_bundle: the folder in ``systems/`` that is meant where only the system is named; empty: its name.
        hints: by control, the parameter that trains a bundle which takes it, where not every bundle does.
        own_files: files and folders of the project that are its own, beside those that have its name.
    """

    name: ClassVar[str]
    takes: ClassVar[frozenset[Control]] = frozenset()
    tasks: ClassVar[frozenset[Task]] = frozenset()
    bundled: ClassVar[bool] = True
    bundle_keys: ClassVar[Mapping[str, tuple[type, ...]]] = {}
    bundle_files: ClassVar[tuple[str, ...]] = ()
    usual_bundle: ClassVar[str] = ""
    hints: ClassVar[Mapping[Control, str]] = {}
    own_files: ClassVar[tuple[str, ...]] = ()

    path: Path
    sample_rate: int

    # -- what a bundle's configuration tells, no network built -------------------------------------------------------

    @classmethod
    def read_config(cls, path: Path | str) -> dict[str, Any]:
        """Read the configuration of a bundle of this system.

        Raises:
            UserError: there is none, or it is another system's.
        """
        from respeak.bundle import read_config

        return read_config(path, cls.name)

    @classmethod
    def takes_of(cls, config: Mapping[str, Any]) -> frozenset[Control]:
        """Return the controls that a bundle of this configuration takes."""
        return cls.takes

    @classmethod
    @abstractmethod
    def streams_of(cls, config: Mapping[str, Any], task: Task) -> frozenset[Stream]:
        """Return what `render` reads of the source corpus."""

    @classmethod
    @abstractmethod
    def facts(cls, path: Path) -> dict[str, str]:
        """Return what ``respeak info`` prints of a bundle, by topic.

        Raises:
            UserError: no bundle of this system, or a damaged one.
        """

    @classmethod
    def unit_encoder(cls, path: Path, device: str = "auto") -> UnitEncoder:
        """Return what turns recordings into the units that a bundle of this system was trained on.

        Raises:
            UserError: no bundle of this system, a damaged one, or a system without units.
        """
        raise UserError(f"{path}: system '{cls.name}' has no units; give a bundle of another, or an encoder's folder")

    @classmethod
    def require(cls, asked: Mapping[Control, str]) -> None:
        """Refuse controls that this system does not take.

        Args:
            asked: the controls that are used, each with what the caller calls it, such as ``--pitch``.

        Raises:
            UserError: names the first that it does not take, and the systems that do.
        """
        from respeak.systems.registry import systems_taking

        for control, called in asked.items():
            if control not in cls.takes:
                others = systems_taking(control)
                known = f"{', '.join(others)} {'does' if len(others) == 1 else 'do'}" if others else "no system does"
                raise UserError(f"{called}: {cls.name} takes no {control} ({known}); leave it out, or choose another")

    @classmethod
    def require_task(cls, task: Task) -> None:
        """Refuse a task that this system does not have.

        Raises:
            UserError: names the tasks that it has.
        """
        if task not in cls.tasks:
            known = ", ".join(known for known in Task if known in cls.tasks)
            raise UserError(f"system '{cls.name}' has no task '{task}'; it has {known}")

    # -- a loaded system ---------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: Path | str, device: str = "auto", untrained_seed: int | None = None) -> Self:
        """Load a bundle; called on `System` itself, the bundle of any system.

        Args:
            path: its folder.
            device: auto (a GPU where there is one), cpu or cuda.
            untrained_seed: draw what was trained afresh from this seed (a baseline).

        Raises:
            UserError: it is missing, damaged or another system's, or the device is not there.
        """
        from respeak.systems.registry import system_of

        kind = system_of(path) if cls is System else cls
        return cast(Self, kind.from_bundle(Path(path), device, untrained_seed))

    @classmethod
    @abstractmethod
    def from_bundle(cls, path: Path, device: str, untrained_seed: int | None) -> Self:
        """Load a bundle of this system; arguments and errors as `load`."""

    @property
    @abstractmethod
    def speakers(self) -> list[str]:
        """Names of the voices."""

    @abstractmethod
    def convert(
        self,
        wave: np.ndarray,
        rate: int,
        target: str | Voice | None = None,
        source: str | None = None,
        intonation: Intonation = UNCHANGED,
        melody: np.ndarray | None = None,
        units: np.ndarray | None = None,
    ) -> np.ndarray:
        """Convert a recording to another voice.

        Args:
            wave: (T,) float32 in [-1, 1].
            rate: of ``wave``, in Hz.
            target: the voice: its name, or as `voice_of` gives it; may be left out where there is but one.
            source: the recording's speaker, where the system knows them.
            intonation: what is done to the melody.
            melody: instead of the recording's own, as `melody_of` gives it.
            units: (N,) instead of those that the system hears.

        Returns:
            (T',) float32 in [-1, 1] at 16 kHz, as long as the conditioned input before padding.

        Raises:
            AudioError: the recording cannot be used.
            UserError: an unknown voice, or a control that the system does not take.
        """

    def resynthesize(
        self,
        wave: np.ndarray,
        rate: int,
        speaker: str | None = None,
        intonation: Intonation = UNCHANGED,
        melody: np.ndarray | None = None,
    ) -> np.ndarray:
        """Resynthesize a recording in its own voice; ``speaker`` is who that is, the rest as in `convert`.

        Raises:
            UserError: the system cannot, or does not find out whose voice it is.
        """
        voice = self.one_voice(speaker, "speaker")
        return self.convert(wave, rate, voice, intonation=intonation, melody=melody)

    def synthesize_units(
        self,
        units: np.ndarray,
        target: str | Voice,
        intonation: Intonation = UNCHANGED,
        melody: np.ndarray | None = None,
        deduplicated: bool = False,
    ) -> np.ndarray:
        """Synthesize units (N,) alone: ``(N * unit_hop,)`` float32 in [-1, 1] at 16 kHz.

        ``deduplicated`` units last as long as the system thinks right, whatever their repetitions; the rest as in
        `convert`.

        Raises:
            UserError: the system does not take units, or none of these.
        """
        self.require({Control.UNITS: "units"})
        raise NotImplementedError

    def voice_of(self, wave: np.ndarray, rate: int, name: str = "the recording") -> Voice:
        """Return the voice of a recording (T,); ``name`` is for messages.

        Raises:
            AudioError: the recording cannot be used.
            UserError: the system has its own voices only.
        """
        self.require({Control.RECORDING: name})
        raise NotImplementedError

    def melody_of(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """Return the melody of a recording (T,), for another to have.

        Raises:
            AudioError: the recording cannot be used.
            UserError: the system does not take a melody.
        """
        self.require({Control.MELODY: "melody"})
        raise NotImplementedError

    @abstractmethod
    def render(self, renderings: Sequence[Rendering], manner: Manner) -> Iterator[np.ndarray]:
        """Yield a waveform (T,) float32 in [-1, 1] at 16 kHz for each, in order; as many at once as is fast.

        Each is cut to the speech of its source, unless its units last as the system thinks right.

        Raises:
            UserError: a voice that the system has not.
        """

    def speaker_index(self, name: str) -> int:
        """Return the place of a voice among the system's.

        Raises:
            UserError: the system has no such voice; lists those it has.
        """
        if name not in self.speakers:
            raise UserError(f"speaker '{name}' is not in {self.path}; it has {some_of(self.speakers)}")
        return self.speakers.index(name)

    def one_voice(self, name: str | None, called: str = "target") -> str:
        """Return the voice of that name, or the system's only one; ``called`` is what the caller calls it.

        Raises:
            UserError: no such voice, or none named where there are several.
        """
        if name is None and len(self.speakers) > 1:
            raise UserError(f"say which voice ({called}): {some_of(self.speakers)}")
        voice = self.speakers[0] if name is None else name
        self.speaker_index(voice)
        return voice


def named_controls(
    source: str | None, intonation: Intonation, melody: np.ndarray | None, units: np.ndarray | None
) -> dict[Control, str]:
    """Return the controls that arguments of `System.convert` use, by their names there."""
    used = {
        Control.SOURCE: (source is not None, "source"),
        Control.PITCH: (intonation.semitones != UNCHANGED.semitones, "intonation.semitones"),
        Control.PITCH_RANGE: (intonation.span != UNCHANGED.span, "intonation.span"),
        Control.MELODY: (melody is not None, "melody"),
        Control.UNITS: (units is not None, "units"),
    }
    return {control: called for control, (is_used, called) in used.items() if is_used}
