"""The ``respeak`` command: resynthesise recordings, convert voices, show what a system bundle or this machine is.

Exit status: 0 when all went well, 1 when some recordings of a folder were skipped, a corpus has problems or something
is missing, 2 for an error of the user's (one line on stderr).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from respeak.cli.corpus_commands import check, corpus_app
from respeak.cli.evaluate_command import evaluate
from respeak.cli.render_commands import convert, generate, resynthesize
from respeak.cli.softvc_steps import mel, vocode
from respeak.cli.units_commands import export_units, import_units, units
from speech.errors import UserError

app = typer.Typer(
    help="Respeak: resynthesise speech from discrete units, and convert it to another voice.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(corpus_app, name="corpus")
for command in (resynthesize, convert, generate, evaluate, check, units, mel, vocode, import_units, export_units):
    app.command()(command)


def main() -> None:
    """Entry point; a `UserError` becomes one line on stderr and exit status 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def info(system: Annotated[Path, typer.Argument(metavar="SYSTEM", help="folder of a trained system")]) -> None:
    """Show what a system bundle is: rates, encoder, units, F0, speakers, licence."""
    from respeak.systems.registry import find_system, is_softvc

    folder = find_system(system)
    facts = _softvc_facts(folder) if is_softvc(folder) else _facts(folder)
    for name, value in facts.items():
        typer.echo(f"{name + ':':<11} {value}")


def _softvc_facts(folder: Path) -> dict[str, object]:
    from respeak.systems.softvc.bundle import SoftVCBundle

    config = SoftVCBundle.load(folder).config
    encoder, sizes = config["encoder"], config["acoustic"]
    heard = f"{sizes['num_units']} units" if sizes["num_units"] else f"{sizes['unit_dim']} dimensions"
    speakers = config["speakers"]
    return {
        "system": f"{config['system']} (format {config['format']}, scale {config.get('scale', 'unknown')})",
        "audio": f"{config['sample_rate']} Hz mono",
        "encoder": f"{encoder['kind']}, {encoder['dim']} dimensions, sha256 {encoder['hash'][:12]}",
        "content": f"{config['content']}, {heard}, {config['sample_rate'] / config['unit_hop']:g} per second",
        "speakers": f"{len(speakers)}: {', '.join(speakers)}",
        "licence": config.get("licence", "not stated"),
        **{f"provenance.{key}": value for key, value in (config.get("provenance") or {}).items()},
    }


def _facts(folder: Path) -> dict[str, object]:
    from respeak.bundle import Bundle

    bundle = Bundle.load(folder)
    config = bundle.config
    rate, encoder, f0 = config["sample_rate"], config["encoder"], config["f0"]
    hz = {name: stats["hz"] for name, stats in bundle.speakers.items()}
    speakers = ", ".join(f"{name} ({value['mean']:.0f} ± {value['std']:.0f} Hz)" for name, value in hz.items())
    return {
        "system": f"{config['system']} (format {config['format']}, scale {config.get('scale', 'unknown')})",
        "audio": f"{rate} Hz mono",
        "encoder": f"{encoder['kind']}, layer {encoder.get('layer', '-')}, {encoder['dim']} dimensions, "
        f"sha256 {encoder['hash'][:12]}",
        "units": f"{config['kmeans']['k']} at {rate / config['unit_hop']:g} per second",
        "f0": f"{f0['method']}, {f0['floor_hz']:g} to {f0['ceil_hz']:g} Hz, z-scored in {f0['normalise']}, "
        f"{rate / config['f0_hop']:g} frames per second",
        "weights": f"{bundle.num_weights / 1e6:.2f} million",
        "speakers": f"{len(hz)}: {speakers}",
        "voices": "any recording's, by d-vector" if config["model"].get("speaker_dim") else "these speakers'",
        "licence": config.get("licence", "not stated"),
        **{f"provenance.{key}": value for key, value in (config.get("provenance") or {}).items()},
    }


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


if __name__ == "__main__":
    main()
