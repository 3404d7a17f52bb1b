"""``respeak resynthesize``, ``convert`` and ``generate``: recordings or units in, recordings out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from respeak.pairs import pair_files
from respeak.systems.base import Control, System
from respeak.systems.registry import find_system, load_system, system_of
from speech.errors import AudioError, UserError

if TYPE_CHECKING:
    import numpy as np

    from respeak.voices import Voice
    from speech.audio.decode import IsolatedDecoder
    from speech.intonation import Intonation
    from speech.unit_formats import Found

# From a recording (its path, samples and rate) to what is written for it.
Render = Callable[[Path, "np.ndarray", int], "np.ndarray"]

Item = TypeVar("Item")

Source = Annotated[
    Path, typer.Argument(metavar="IN", help="a recording, or a folder of recordings (searched in depth); any rate")
]
Output = Annotated[
    Path,
    typer.Argument(
        metavar="OUT",
        help="the file to write (16 kHz mono 16-bit .wav), or a folder: it is made, and keeps the layout of IN",
    ),
]
SystemPath = Annotated[Path, typer.Option("--system", help="a trained system: its folder, or its name in systems/")]
Pitch = Annotated[float, typer.Option("--pitch", metavar="SEMITONES", help="how much higher, such as +2 or -1.5")]
PitchRange = Annotated[
    float, typer.Option("--pitch-range", metavar="FACTOR", help="how much wider the melody; 0 is flat, 1 as it is")
]
MelodyFrom = Annotated[
    Path | None, typer.Option("--melody-from", help="a recording whose melody is taken, stretched to fit")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
DEFAULT_SYSTEM = Path("systems/resynthesis")


def resynthesize(
    source: Source,
    output: Output,
    system: SystemPath = DEFAULT_SYSTEM,
    speaker: Annotated[
        str | None, typer.Option(help="who speaks in IN (default: the system's speaker nearest to the recording)")
    ] = None,
    pitch: Pitch = 0.0,
    pitch_range: PitchRange = 1.0,
    melody_from: MelodyFrom = None,
    device: Device = "auto",
) -> None:
    """Resynthesize recordings in the voice that they have: audio to units and F0, and back to audio."""
    pairs = pair_files(source, output)
    intonation = _intonation(pitch, pitch_range)
    own = {Control.OWN_VOICE: (speaker is None, "no --speaker")}
    loaded = _load(system, device, own | _changes(pitch, pitch_range, melody_from))
    if speaker is not None:
        loaded.speaker_index(speaker)
    melody = _melody(loaded, melody_from)

    def render(recording: Path, wave: np.ndarray, rate: int) -> np.ndarray:
        return loaded.resynthesize(wave, rate, speaker, intonation, melody)

    _render_all(pairs, source, output, loaded, render)


def convert(
    source: Source,
    output: Output,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="VOICE",
            help="the voice to convert to: a name ('respeak info' lists them) or a recording, if the system takes any; "
            "not needed where the system has but one",
        ),
    ] = None,
    system: SystemPath = DEFAULT_SYSTEM,
    speaker: Annotated[
        str | None,
        typer.Option(help="who speaks in IN, if the system knows them (default: F0 statistics of each recording)"),
    ] = None,
    pitch: Pitch = 0.0,
    pitch_range: PitchRange = 1.0,
    melody_from: MelodyFrom = None,
    units_from: Annotated[
        Path | None,
        typer.Option(help="units of the recordings, matched by name (name|5 5 12, fairseq's, ...), instead of our own"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Convert recordings to another voice; what else can be changed is for the system to take ('respeak info')."""
    pairs = pair_files(source, output)
    intonation = _intonation(pitch, pitch_range)
    used = {
        Control.SOURCE: (speaker is not None, "--speaker"),
        Control.UNITS: (units_from is not None, "--units-from"),
        **_changes(pitch, pitch_range, melody_from),
    }
    units = None if units_from is None else _Units(units_from)
    loaded = _load(system, device, used)
    if speaker is not None:
        loaded.speaker_index(speaker)
    voice = find_voice(loaded, target)
    melody = _melody(loaded, melody_from)

    def render(recording: Path, wave: np.ndarray, rate: int) -> np.ndarray:
        own = None if units is None else units.of(recording)
        return loaded.convert(wave, rate, voice, speaker, intonation, melody, own)

    _render_all(pairs, source, output, loaded, render)


def generate(
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="folder for NAME.wav (16 kHz mono); of several voices a folder for each"),
    ],
    units: Annotated[
        Path, typer.Option("--units", help="file or folder of units: 'respeak units' wrote it, name|5 5 12, fairseq's")
    ],
    target: Annotated[list[str], typer.Option(metavar="VOICE", help="a name or a recording; may be given repeatedly")],
    system: SystemPath = DEFAULT_SYSTEM,
    pitch: Pitch = 0.0,
    pitch_range: PitchRange = 1.0,
    melody_from: MelodyFrom = None,
    deduplicated: Annotated[
        bool, typer.Option("--deduplicated", help="units last as long as the system thinks right, not as repeated")
    ] = False,
    device: Device = "auto",
) -> None:
    """Synthesize units, wherever they come from, in one voice or several; level, or with a recording's melody."""
    from speech.audio.waveforms import write_wave

    if output.is_file():
        raise UserError(f"{output}: is a file; give a folder to write to")
    intonation = _intonation(pitch, pitch_range)
    if melody_from is None and pitch_range not in (0.0, 1.0):
        raise UserError("--pitch-range: units alone are synthesized level; give a melody too (--melody-from)")
    given = _Units(units)
    used = {Control.UNITS: (True, "--units"), Control.DURATIONS: (deduplicated, "--deduplicated")}
    loaded = _load(system, device, used | _changes(pitch, pitch_range, melody_from))
    voices = {name: find_voice(loaded, name) for name in target}
    melody = _melody(loaded, melody_from)
    folders = {name: output / Path(name).stem if len(voices) > 1 else output for name in voices}
    if len(set(folders.values())) < len(folders):
        raise UserError(f"--target: {', '.join(target)} would be written to one folder; rename the recordings")
    start, seconds = time.perf_counter(), 0.0
    for position, name in enumerate(show_progress(given.found.names, "utterances")):
        for voice, folder in folders.items():
            wave = loaded.synthesize_units(given.found.read(position), voices[voice], intonation, melody, deduplicated)
            write_wave(folder / f"{name}.wav", wave, loaded.sample_rate)
            seconds += len(wave) / loaded.sample_rate
    count = len(given.found.names)
    _report(f"{count} utterances in {len(voices)} voice(s) written to {output}", seconds, start)


def find_voice(system: System, target: str | None) -> str | Voice:
    """Return the name of one of the system's voices (None: its only one), or the voice of the recording at that path.

    Raises:
        UserError: neither, or the system has its own voices only.
        AudioError: the recording cannot be used.
    """
    if target is None or target in system.speakers or not Path(target).is_file():
        return system.one_voice(target, "--target")
    wave, rate = _read(Path(target))
    with _naming(Path(target)):
        return system.voice_of(wave, rate)


class _Units:
    """Units of a foreign file by the name of the recording."""

    def __init__(self, path: Path) -> None:
        from speech.unit_formats import detect_format, open_units

        self.path = path
        self.found: Found = open_units(path, detect_format(path))
        self.positions = {name: position for position, name in enumerate(self.found.names)}

    def of(self, recording: Path) -> np.ndarray:
        from speech.corpora.splits import utterance_name

        position = self.positions.get(utterance_name(str(recording)))
        if position is None:
            raise AudioError(f"{self.path} has no units of it; they are matched by the name of the file")
        return self.found.read(position)


def _intonation(pitch: float, pitch_range: float) -> Intonation:
    from speech.intonation import Intonation

    for option, value in (("--pitch", pitch), ("--pitch-range", pitch_range)):
        if not math.isfinite(value):
            raise UserError(f"{option}: {value} is no number to change a melody by")
    return Intonation(pitch, pitch_range)


def _changes(pitch: float, pitch_range: float, melody_from: Path | None) -> dict[Control, tuple[bool, str]]:
    """Return what is asked of the melody: each control, whether it is used, and its option."""
    return {
        Control.PITCH: (pitch != 0, "--pitch"),
        Control.PITCH_RANGE: (pitch_range != 1, "--pitch-range"),
        Control.MELODY: (melody_from is not None, "--melody-from"),
    }


def _load(system: Path, device: str, used: Mapping[Control, tuple[bool, str]]) -> System:
    """Load a system that takes what is used, or refuse before anything is loaded."""
    asked = {control: option for control, (is_used, option) in used.items() if is_used}
    system_of(find_system(system)).require(asked)
    return load_system(system, device)


def _melody(system: System, recording: Path | None) -> np.ndarray | None:
    if recording is None:
        return None
    wave, rate = _read(recording)
    with _naming(recording):
        melody = system.melody_of(wave, rate)
        if not melody.any():
            raise AudioError("has no voiced speech, so no melody to take")
    return melody


def _read(recording: Path) -> tuple[np.ndarray, int]:
    from speech.audio.decode import IsolatedDecoder

    with IsolatedDecoder() as decoder:
        return decoder.read(recording)


@contextmanager
def _naming(recording: Path) -> Iterator[None]:
    """Name the recording that cannot be used in the error."""
    try:
        yield
    except AudioError as error:
        raise AudioError(f"{recording}: {error}") from None


def _render_all(pairs: list[tuple[Path, Path]], source: Path, output: Path, system: System, render: Render) -> None:
    from speech.audio.decode import IsolatedDecoder

    start, seconds, skipped = time.perf_counter(), 0.0, 0
    with IsolatedDecoder() as decoder:
        for recording, target in show_progress(pairs, "recordings"):
            try:
                seconds += _render_one(system, decoder, recording, target, render)
            except AudioError as error:
                if source.is_file():
                    raise
                skipped += 1
                typer.echo(f"skipped: {error}", err=True)
    _report(f"{len(pairs) - skipped} of {len(pairs)} recordings written to {output}", seconds, start)
    if skipped:
        raise typer.Exit(1)


def _render_one(system: System, decoder: IsolatedDecoder, recording: Path, target: Path, render: Render) -> float:
    from speech.audio.waveforms import write_wave

    wave, rate = decoder.read(recording)
    with _naming(recording):
        rendered = render(recording, wave, rate)
    write_wave(target, rendered, system.sample_rate)
    return len(rendered) / system.sample_rate


def _report(done: str, seconds: float, start: float) -> None:
    wall = time.perf_counter() - start
    factor = f"{wall / seconds:.3f}" if seconds else "none"
    typer.echo(f"{done}: {seconds:.1f} s of audio in {wall:.1f} s (real-time factor {factor})")


def show_progress(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield the items, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(items, what, console=console, disable=not console.is_terminal)
