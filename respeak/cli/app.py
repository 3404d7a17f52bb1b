"""The ``respeak`` command: resynthesise recordings, convert voices, show what a system bundle or this machine is.

Exit status: 0 when all went well, 1 when some recordings of a folder were skipped, a corpus has problems or something
is missing, 2 for an error of the user's (one line on stderr).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import typer

from respeak.cli.corpus_commands import check, corpus_app
from respeak.cli.evaluate_command import evaluate
from respeak.cli.render_commands import convert, generate, resynthesize
from respeak.cli.units_commands import export_units, import_units, units
from respeak.systems.registry import find_system, names, system_of
from speech.errors import UserError

app = typer.Typer(
    help="Respeak: resynthesise speech from discrete units, and convert it to another voice.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(corpus_app, name="corpus")
for command in (resynthesize, convert, generate, evaluate, check, units, import_units, export_units):
    app.command()(command)
for module in (f"respeak.systems.{name}.commands" for name in names()):
    if importlib.util.find_spec(module) is not None:
        for command in importlib.import_module(module).COMMANDS:
            app.command()(command)


def main() -> None:
    """Run the command; a `UserError` becomes one line on stderr and exit status 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def info(system: Annotated[Path, typer.Argument(metavar="SYSTEM", help="folder of a trained system")]) -> None:
    """Show what a system bundle is: rates, encoder, speakers, the controls that it takes, licence."""
    folder = find_system(system)
    facts = system_of(folder).facts(folder)
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


if __name__ == "__main__":
    main()
