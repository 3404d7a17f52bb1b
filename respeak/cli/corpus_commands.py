"""``respeak corpus`` and ``respeak check``: fetch public corpora, and look at any before training on it."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from speech.errors import UserError

Item = TypeVar("Item")

corpus_app = typer.Typer(
    help="Public corpora: list the adapters, fetch a corpus, hold one against what is known of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Adapter = Annotated[str, typer.Argument(metavar="ADAPTER", help="see 'respeak corpus list'")]
Root = Annotated[Path, typer.Argument(metavar="FOLDER", help="the corpus's folder")]
Options = Annotated[
    list[str] | None, typer.Option("--option", help="of the adapter, as name=value or name=one,two; may be repeated")
]


@corpus_app.command("list")
def list_adapters() -> None:
    """List the adapters with what they read and their options."""
    from speech.corpora import CORPORA, options_of

    for name, module in CORPORA.items():
        title = (getattr(module, "__doc__", None) or "").splitlines()[0]
        typer.echo(f"{name}: {title}")
        if known := options_of(name):
            typer.echo(f"    options: {', '.join(f'{key}={_shown(value)}' for key, value in known.items())}")


@corpus_app.command("download")
def download_corpus(
    adapter: Adapter,
    folder: Root,
    option: Options = None,
    mirror: Annotated[str, typer.Option(help="address of a folder that holds the same files")] = "",
) -> None:
    """Fetch a public corpus and unpack it; goes on where it stopped, and does nothing where it is complete."""
    from speech.corpora import download

    download(adapter, folder, parse_options(adapter, option or []), mirror)
    typer.echo(f"{folder}: complete")


@corpus_app.command("validate")
def validate_corpus(adapter: Adapter, folder: Root, option: Options = None) -> None:
    """Say what is missing from a corpus; exit status 1 if something is. Nothing is decoded."""
    from speech.corpora.validate import validate

    listing, problems = validate(adapter, folder, 0, parse_options(adapter, option or []))
    for problem in problems:
        typer.echo(problem)
    speakers = len({entry.speaker for entry in listing.entries})
    typer.echo(f"{folder}: {len(listing.entries)} recordings of {speakers} speakers, {len(problems)} problems")
    if problems:
        raise typer.Exit(1)


def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="one folder per speaker, a table, or a corpus")],
    adapter: Annotated[str, typer.Option(help="who reads it; see 'respeak corpus list'")] = "folder",
    option: Options = None,
    seed: Annotated[int, typer.Option(help="of the split, as params.yaml has it")] = 1234,
) -> None:
    """Hear a corpus once before anything is trained on it; exit status 1 if something would block that."""
    from speech.audio.decode import IsolatedDecoder
    from speech.audit import Audit, audit
    from speech.corpora import prepare

    if not folder.exists():
        raise UserError(f"{folder}: no such folder; give a folder of recordings, or a table of them")
    listing = prepare(adapter, folder, folder, seed, parse_options(adapter, option or []))
    counts = Audit()
    with IsolatedDecoder() as decoder:
        for _ in progress(audit(listing, decoder, counts), listing.entries):
            pass
    _report(counts)
    if any(finding.level == "blocks" for finding in counts.findings()):
        raise typer.Exit(1)


def parse_options(adapter: str, words: list[str]) -> dict[str, Any]:
    """Parse ``name=value`` words as values of the types that the adapter's options have.

    Raises:
        UserError: no such option, or a value of another type.
    """
    from speech.corpora import options_of

    known = options_of(adapter)
    options: dict[str, Any] = {}
    for word in words:
        name, separator, text = word.partition("=")
        if not separator or name not in known:
            raise UserError(f"--option {word}: expected name=value with one of {', '.join(known) or 'no options'}")
        kind = type(known[name])
        try:
            options[name] = text.split(",") if known[name] is None else kind(text)
        except ValueError:
            raise UserError(f"--option {word}: expected a number") from None
    return options


def progress(items: Iterable[Item], sized: Sized, what: str = "recordings") -> Iterable[Item]:
    """Show how far it is, on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, what, total=len(sized), console=console, disable=not console.is_terminal)


def _report(counts: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from speech.audit import SCALES
    from speech.fetching.downloads import describe_size

    console = Console(highlight=False)
    table = Table("", "", show_header=False)
    for name, value in _facts(counts).items():
        table.add_row(name, value)
    console.print(table)
    if counts.recordings:
        needs = Table("scale", "disk for shards", "F0, processor time", "training hears the corpus")
        for name, scale in SCALES.items():
            need = counts.needs(scale)
            size = describe_size(round(need.disk_bytes))
            needs.add_row(name, size, _time(3600 * need.f0_hours), f"{_number(need.passes)} times")
        console.print(needs)
    for finding in counts.findings():
        console.print(
            f"{'BLOCKS' if finding.level == 'blocks' else 'look'}: {finding.text}", soft_wrap=True, markup=False
        )


def _facts(counts: Any) -> dict[str, str]:
    usable = f"{counts.recordings} usable, {counts.unusable.count} not"
    if not counts.recordings:
        return {"recordings": usable}
    seconds = sorted(counts.speakers.values())
    return {
        "recordings": usable,
        "audio": f"{_time(counts.seconds)}, {_time(counts.speech_seconds)} without silent ends",
        "durations": f"{counts.shortest:.2f} to {counts.longest:.2f} s, "
        f"{counts.seconds / counts.recordings:.2f} s on average",
        "rates": ", ".join(f"{rate} Hz: {count}" for rate, count in sorted(counts.rates.items())),
        "speakers": f"{len(seconds)}, {_time(seconds[0])} to {_time(seconds[-1])} each",
        "splits": ", ".join(f"{split}: {counts.splits[split]}" for split in ("train", "valid", "test")),
        "text": f"{counts.with_text} of {counts.recordings}",
        "clipped, nearly silent": f"{counts.clipped.count}, {counts.quiet.count}",
        "duplicates": str(counts.duplicates.count + counts.leaks.count),
    }


def _time(seconds: float) -> str:
    """Return a time for people: ``32 s``, ``5.3 min``, ``12 h``."""
    unit, size = ("h", 3600) if seconds >= 3600 else ("min", 60) if seconds >= 60 else ("s", 1)
    return f"{_number(seconds / size)} {unit}"


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _shown(value: Any) -> str:
    return "LIST" if value is None else repr(value) if value == "" else str(value)
