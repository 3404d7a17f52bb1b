"""``respeak units``, ``import-units`` and ``export-units``: units of recordings, and units from and for others."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from respeak.pairs import pair_files
from speech.errors import AudioError, UserError

if TYPE_CHECKING:
    import numpy as np

    from respeak.encoders.unit_encoder import TimedUnits, UnitEncoder


class Written(StrEnum):
    """Formats that ``respeak units`` writes."""

    tsv = "tsv"
    json = "json"
    npy = "npy"


class Foreign(StrEnum):
    """Formats of other projects; see ``speech.unit_formats``."""

    codes = "codes"
    km = "km"
    dict = "dict"
    npy = "npy"


def units(
    source: Annotated[Path, typer.Argument(metavar="IN", help="a recording, any rate and length, or a folder of them")],
    system: Annotated[
        Path, typer.Option(help="a system's bundle or name, a folder of k-means centres, or an encoder's of soft units")
    ] = Path("kmeans"),
    encoder: Annotated[
        Path | None, typer.Option(help="the centres' encoder (default: 'encoder' beside their folder)")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="file to write; its suffix is the format (default: stdout); of a folder a folder"),
    ] = None,
    form: Annotated[
        Written | None, typer.Option("--format", help="default: by suffix, else tsv; of a folder npy")
    ] = None,
    speaker: Annotated[str | None, typer.Option(help="who speaks, if the bundle knows them")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Print the units of a recording and when each begins and ends, in seconds of the recording.

    As .npy they are (N,) integers, or (N, D) floats of soft units; as text soft units are the most probable discrete
    ones.
    """
    pairs, written = _plan(source, out, form)
    from respeak.encoders.unit_encoder import UnitEncoder
    from respeak.systems.registry import find_system
    from speech.audio.decode import IsolatedDecoder

    loaded = UnitEncoder.load(find_system(system), encoder, device)
    skipped = 0
    with IsolatedDecoder() as decoder:
        for recording, target in pairs:
            try:
                timed = _encode(loaded, *decoder.read(recording), recording, speaker)
            except AudioError as error:
                if source.is_file():
                    raise
                skipped += 1
                typer.echo(f"skipped: {error}", err=True)
            else:
                _write(timed if written is Written.npy else loaded.named(timed), written, target)
    if source.is_dir():
        typer.echo(f"units of {len(pairs) - skipped} of {len(pairs)} recordings written to {out}")
    if skipped:
        raise typer.Exit(1)


def _plan(source: Path, out: Path | None, form: Written | None) -> tuple[list[tuple[Path, Path | None]], Written]:
    """Return each recording with the file for its units, and the format."""
    if not source.is_dir():
        written = form or _by_suffix(out)
        if written is Written.npy and out is None:
            raise UserError("--format npy: an array needs a file; give --out units.npy")
        return [(source, out)], written
    if out is None:
        raise UserError(f"{source}: units of a folder go to a folder; give --out")
    written = form or Written.npy
    return [*pair_files(source, out, f".{written.value}")], written


def _encode(loaded: UnitEncoder, wave: np.ndarray, rate: int, recording: Path, speaker: str | None) -> TimedUnits:
    try:
        return loaded.encode(wave, rate, speaker)
    except AudioError as error:
        raise AudioError(f"{recording}: {error}") from None


def import_units(
    source: Annotated[Path, typer.Argument(metavar="IN", help="a file, or a folder of .npy or of .tsv and .km")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="folder for the shards, such as data/<corpus>/units")],
    form: Annotated[Foreign | None, typer.Option("--format", help="default: found out")] = None,
    audio: Annotated[
        Path | None, typer.Option(help="data/<corpus>/audio: units come out in its shards, matched by id")
    ] = None,
    hop: Annotated[int, typer.Option(help="samples at 16 kHz per unit")] = 320,
) -> None:
    """Bring units of another project: name|codes, fairseq tsv and km, one dictionary a line, or .npy."""
    from speech import unit_formats

    kind = form.value if form else unit_formats.detect_format(source)
    found = unit_formats.open_units(source, kind)
    largest = unit_formats.import_units(found, output, audio, hop)
    typer.echo(f"{len(found.names)} utterances read as {kind}, units up to {largest}, written to {output}")


def export_units(
    source: Annotated[Path, typer.Argument(metavar="IN", help="data/<corpus>, or a folder of unit shards")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="a file (codes, dict) or a folder (km, npy)")],
    form: Annotated[Foreign, typer.Option("--format", help="codes, km, dict or npy")] = Foreign.codes,
    key: Annotated[str, typer.Option(help="name of the units in a dict")] = "hubert",
) -> None:
    """Take units to another project."""
    from speech import unit_formats

    count = unit_formats.export_units(source, output, form.value, key)
    typer.echo(f"{count} utterances written to {output} as {form.value}")


def _by_suffix(out: Path | None) -> Written:
    if out is None:
        return Written.tsv
    try:
        return Written(out.suffix.removeprefix(".").lower())
    except ValueError:
        raise UserError(f"{out}: give a name that ends in .tsv, .json or .npy, or give --format") from None


def _write(timed: TimedUnits, form: Written, out: Path | None) -> None:
    from speech.rates import SAMPLE_RATE, UNIT_HOP
    from speech.storage.files import atomic_path, write_text
    from speech.unit_formats import TIMES_HEAD

    seconds = UNIT_HOP / SAMPLE_RATE
    if form is Written.npy and out is not None:
        import numpy as np

        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(out) as temporary, temporary.open("wb") as file:
            np.save(file, timed.units.astype(np.int64 if timed.units.ndim == 1 else np.float32))
        return
    times = [round(float(time), 4) for time in timed.times()]
    if form is Written.json:
        text = json.dumps({"units": timed.units.tolist(), "start": times, "seconds_per_unit": seconds}) + "\n"
    else:
        rows = zip(times, timed.units.tolist(), strict=True)
        text = TIMES_HEAD + "".join(f"{a:.4f}\t{a + seconds:.4f}\t{unit}\n" for a, unit in rows)
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
