"""The ``respeak`` command: resynthesise recordings, convert voices, show what a system bundle or this machine is.

Exit status: 0 when all went well, 1 when some recordings of a folder were skipped, a corpus has problems or something
is missing, 2 for an error of the user's (one line on stderr).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from respeak.cli_corpus import check, corpus_app
from respeak.cli_units import export_units, import_units, units
from speech.errors import AudioError, UserError

if TYPE_CHECKING:
    import numpy as np

    from respeak.api import System
    from speech.decode import IsolatedDecoder

Render = Callable[["System", "np.ndarray", int], "np.ndarray"]

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au")

app = typer.Typer(
    help="Respeak: resynthesise speech from discrete units, and convert it to another voice.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(corpus_app, name="corpus")
for command in (check, units, import_units, export_units):
    app.command()(command)

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
SystemPath = Annotated[Path, typer.Option("--system", help="folder of a trained system (a bundle)")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
DEFAULT_SYSTEM = Path("systems/resynthesis")


def main() -> None:
    """Entry point; a `UserError` becomes one line on stderr and exit status 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def resynthesize(
    source: Source,
    output: Output,
    system: SystemPath = DEFAULT_SYSTEM,
    speaker: Annotated[
        str | None, typer.Option(help="who speaks in IN (default: the system's speaker nearest to the recording)")
    ] = None,
    device: Device = "auto",
) -> None:
    """Say recordings again, in the voice that they have: audio to units and F0, and back to audio."""

    def render(loaded: System, wave: np.ndarray, rate: int) -> np.ndarray:
        return loaded.resynthesize(wave, rate, speaker)

    _render_all(source, output, system, device, [speaker], render)


@app.command()
def convert(
    source: Source,
    output: Output,
    target: Annotated[str, typer.Option(help="the voice to convert to; 'respeak info' lists them")],
    system: SystemPath = DEFAULT_SYSTEM,
    speaker: Annotated[
        str | None,
        typer.Option(help="who speaks in IN, if the system knows them (default: F0 statistics of each recording)"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Say recordings in another voice; the melody of speech follows the source, its height the target."""

    def render(loaded: System, wave: np.ndarray, rate: int) -> np.ndarray:
        return loaded.convert(wave, rate, target, source=speaker)

    _render_all(source, output, system, device, [target, speaker], render)


@app.command()
def info(system: Annotated[Path, typer.Argument(metavar="SYSTEM", help="folder of a trained system")]) -> None:
    """Show what a system bundle is: rates, encoder, units, F0, speakers, licence."""
    from respeak.bundle import Bundle

    bundle = Bundle.load(system)
    config = bundle.config
    rate, encoder, f0 = config["sample_rate"], config["encoder"], config["f0"]
    hz = {name: stats["hz"] for name, stats in bundle.speakers.items()}
    speakers = ", ".join(f"{name} ({value['mean']:.0f} ± {value['std']:.0f} Hz)" for name, value in hz.items())
    facts = {
        "system": f"{config['system']} (format {config['format']}, scale {config.get('scale', 'unknown')})",
        "audio": f"{rate} Hz mono",
        "encoder": f"{encoder['kind']}, layer {encoder.get('layer', '-')}, {encoder['dim']} dimensions, "
        f"sha256 {encoder['hash'][:12]}",
        "units": f"{config['kmeans']['k']} at {rate / config['unit_hop']:g} per second",
        "f0": f"{f0['method']}, {f0['floor_hz']:g} to {f0['ceil_hz']:g} Hz, z-scored in {f0['normalise']}, "
        f"{rate / config['f0_hop']:g} frames per second",
        "weights": f"{bundle.num_weights / 1e6:.2f} million",
        "speakers": f"{len(hz)}: {speakers}",
        "licence": config.get("licence", "not stated"),
        **{f"provenance.{key}": value for key, value in (config.get("provenance") or {}).items()},
    }
    for name, value in facts.items():
        typer.echo(f"{name + ':':<11} {value}")


@app.command()
def doctor() -> None:
    """Show what is installed, which weights and devices are there, and what params.yaml asks for that is missing."""
    from respeak.doctor import examine

    lacking = 0
    for topic, well, line in examine(Path("params.yaml")):
        lacking += not well
        typer.echo(f"{'' if well else '! '}{topic + ':':<9} {line}")
    if lacking:
        typer.echo(f"{lacking} to be mended, marked with !", err=True)
        raise typer.Exit(1)


def _render_all(
    source: Path, output: Path, system: Path, device: str, speakers: list[str | None], render: Render
) -> None:
    pairs = pair_files(source, output)
    from respeak.api import System
    from speech.decode import IsolatedDecoder

    loaded = System.load(system, device)
    for name in speakers:
        if name is not None:
            loaded.speaker_index(name)
    start, seconds, skipped = time.perf_counter(), 0.0, 0
    with IsolatedDecoder() as decoder:
        for recording, target in _progress(pairs):
            try:
                seconds += _render_one(loaded, decoder, recording, target, render)
            except AudioError as error:
                if source.is_file():
                    raise
                skipped += 1
                typer.echo(f"skipped: {error}", err=True)
    wall = time.perf_counter() - start
    factor = f"{wall / seconds:.3f}" if seconds else "none"
    done = f"{len(pairs) - skipped} of {len(pairs)} recordings written to {output}"
    typer.echo(f"{done}: {seconds:.1f} s of audio in {wall:.1f} s (real-time factor {factor})")
    if skipped:
        raise typer.Exit(1)


def _render_one(system: System, decoder: IsolatedDecoder, recording: Path, target: Path, render: Render) -> float:
    from speech.audio import write_wave

    wave, rate = decoder.read(recording)
    try:
        rendered = render(system, wave, rate)
    except AudioError as error:
        raise AudioError(f"{recording}: {error}") from None
    write_wave(target, rendered, system.sample_rate)
    return len(rendered) / system.sample_rate


def _progress(pairs: list[tuple[Path, Path]]) -> Iterator[tuple[Path, Path]]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(pairs, "recordings", console=console, disable=not console.is_terminal)


def pair_files(source: Path, output: Path) -> list[tuple[Path, Path]]:
    """Each recording with the file to write for it, sorted; nothing is written over what is read.

    Raises:
        UserError: the source is missing or holds no recording, output and source do not go together, or two
            recordings would be written to one file.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; give a recording or a folder of recordings")
    if source.is_file():
        target = output / f"{source.stem}.wav" if output.is_dir() else output
        if target.suffix.lower() != ".wav":
            raise UserError(f"{target}: the output is written as .wav; give a name that ends in .wav, or a folder")
        pairs = [(source, target)]
    else:
        pairs = _pair_folder(source, output)
    written: dict[Path, Path] = {}
    for recording, target in pairs:
        key = target.resolve()
        if key == recording.resolve():
            raise UserError(f"{target}: input and output are the same file; give another output")
        if key in written:
            raise UserError(f"{written[key]} and {recording} would both be written to {target}; rename one of them")
        written[key] = recording
    return pairs


def _pair_folder(source: Path, output: Path) -> list[tuple[Path, Path]]:
    if output.is_file():
        raise UserError(f"{output}: is a file, but {source} is a folder; give a folder to write to")
    if output.resolve() == source.resolve():
        raise UserError(f"{output}: input and output are the same folder; give another output")
    found = [p for p in sorted(source.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    # What an earlier run wrote into a folder inside the source is no recording to convert again.
    found = [p for p in found if not p.resolve().is_relative_to(output.resolve())]
    if not found:
        raise UserError(f"{source}: no recordings ({', '.join(SUFFIXES)}) in this folder or below it")
    return [(p, (output / p.relative_to(source)).with_suffix(".wav")) for p in found]
