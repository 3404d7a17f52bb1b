"""``respeak units``, ``import-units`` and ``export-units``: units of recordings, and units from and for others."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speech.errors import UserError

if TYPE_CHECKING:
    from respeak.units import Spoken


class Written(StrEnum):
    """How ``respeak units`` writes."""

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
    recording: Annotated[Path, typer.Argument(metavar="IN", help="a recording, any rate and length")],
    system: Annotated[Path, typer.Option(help="a system's bundle, or a folder of k-means centres")] = Path("kmeans"),
    encoder: Annotated[
        Path | None, typer.Option(help="the centres' encoder (default: 'encoder' beside their folder)")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="file to write; its suffix is the format (default: stdout)")] = None,
    form: Annotated[Written | None, typer.Option("--format", help="default: by suffix, else tsv")] = None,
    speaker: Annotated[str | None, typer.Option(help="who speaks, if the bundle knows them")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Print the units of a recording and when each begins and ends, in seconds of the recording."""
    written = form or _by_suffix(out)
    if written is Written.npy and out is None:
        raise UserError("--format npy: an array needs a file; give --out units.npy")
    from respeak.units import UnitEncoder
    from speech.decode import IsolatedDecoder
    from speech.errors import AudioError

    with IsolatedDecoder() as decoder:
        wave, rate = decoder.read(recording)
    loaded = UnitEncoder.load(system, encoder, device)
    try:
        spoken = loaded.encode(wave, rate, speaker)
    except AudioError as error:
        raise AudioError(f"{recording}: {error}") from None
    _write(spoken, written, out)


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
        raise UserError(f"{out}: give a name that ends in .tsv, .json or .npy, or say --format") from None


def _write(spoken: Spoken, form: Written, out: Path | None) -> None:
    from speech.files import atomic_path, write_text
    from speech.units import UNIT_HOP

    seconds = UNIT_HOP / 16000
    if form is Written.npy and out is not None:
        import numpy as np

        with atomic_path(out) as temporary, temporary.open("wb") as file:
            np.save(file, spoken.units.astype(np.int64))
        return
    times = [round(float(time), 4) for time in spoken.times()]
    if form is Written.json:
        text = json.dumps({"units": spoken.units.tolist(), "start": times, "seconds_per_unit": seconds}) + "\n"
    else:
        rows = zip(times, spoken.units.tolist(), strict=True)
        text = "start\tend\tunit\n" + "".join(f"{a:.4f}\t{a + seconds:.4f}\t{unit}\n" for a, unit in rows)
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
