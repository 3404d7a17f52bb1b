"""``respeak evaluate``: judge recordings that any system made, by the judges of the tables."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from speech.errors import UserError

if TYPE_CHECKING:
    from respeak.judges.judge_folders import Task
    from respeak.judges.panel import Row
    from speech.judges.settings import Evaluate

# As conf/config.yaml has it.
F0: dict[str, Any] = {"method": "dio", "floor_hz": 60.0, "ceil_hz": 400.0}


class Recogniser(StrEnum):
    """Speech recognisers."""

    pocketsphinx = "pocketsphinx"
    torchaudio = "torchaudio"
    ctc = "ctc"
    whisper = "whisper"


class Speaker(StrEnum):
    """Judges of speakers."""

    resemblyzer = "resemblyzer"
    ecapa = "ecapa"
    xvector = "xvector"


def evaluate(
    systems: Annotated[list[Path], typer.Argument(metavar="DIR...", help="folders of recordings, a system each")],
    out: Annotated[Path, typer.Option(help="folder to write: table.md, .csv, .tex, .json, index.html, utterances")],
    reference: Annotated[
        Path | None, typer.Option(help="folder of recordings that say the same in the same voice, matched by name")
    ] = None,
    text: Annotated[Path | None, typer.Option(help="the words: lines of name|text")] = None,
    voice: Annotated[
        Path | None,
        typer.Option(
            help="recording or folder of the voice that is meant, where it is not the reference's: then a reference "
            "is no longer compared sound by sound, and is judged beside the systems only"
        ),
    ] = None,
    asr: Annotated[Recogniser, typer.Option(help="the speech recogniser")] = Recogniser.pocketsphinx,
    asr_model: Annotated[str, typer.Option(help="its model: see evaluate.asr.model in conf/config.yaml")] = "",
    asr_mode: Annotated[str, typer.Option(help="open, lm, words or sentences: what it may hear of --text")] = "open",
    phonemes: Annotated[
        str, typer.Option(help="phoneme recogniser: pocketsphinx, none, or a Hugging Face folder of IPA phonemes")
    ] = "pocketsphinx",
    quality: Annotated[str, typer.Option(help="judges of quality, separated by commas")] = "stoi,pesq,mcd",
    speaker: Annotated[Speaker, typer.Option(help="the judge of speakers")] = Speaker.resemblyzer,
    digits: Annotated[
        Path | None,
        typer.Option(
            help="folder of a trained digit classifier (train_digit_classifier/own): digits right, FID, inception and "
            "AM scores; recordings without text are taken for digits"
        ),
    ] = None,
    sentences: Annotated[int, typer.Option(help="how many can be heard on the page")] = 3,
    bootstrap: Annotated[int, typer.Option(help="resamples behind each interval")] = 2000,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda, of judges that are networks")] = "cpu",
) -> None:
    """Judge other systems' recordings: the same judges, table and page as for systems trained here."""
    from respeak.judges.judge_folders import Task, embed_voice, find_recordings, read_texts
    from respeak.weights import cache_folder
    from speech.judges.cache import Answers

    judges = _judges(asr, asr_model, asr_mode, phonemes, quality, speaker, bootstrap)
    judges = replace(judges, digits=str(digits or ""))
    folders = {_name(path, systems): find_recordings(path) for path in systems}
    known = find_recordings(reference) if reference else {}
    texts = read_texts(text) if text else {}
    answers = cache_folder() / "answers"
    meant = embed_voice(voice, Answers(answers), judges, device) if voice else None
    compared = {} if voice else known
    task = Task({}, compared, texts, tuple(sorted(set(texts.values()))), meant, judges, F0, answers, device)
    # Only what some system made: a corpus given as reference may hold much more.
    made = {name for recordings in folders.values() for name in recordings}
    if truth := {name: path for name, path in known.items() if name in made}:
        folders = {"ground_truth": truth, **folders}
    _report_unmatched(made, known, texts)
    rows, skipped = {}, 0
    for name, recordings in folders.items():
        references = {} if name == "ground_truth" else compared
        found, reasons = _judge(name, replace(task, recordings=recordings, references=references), workers)
        rows[name], skipped = found, skipped + len(reasons)
    _write(out, rows, folders, judges, sentences, (len(made & set(texts)), len(made & set(known))))
    if skipped:
        raise typer.Exit(1)


def _judges(
    asr: Recogniser, model: str, mode: str, phonemes: str, quality: str, speaker: Speaker, bootstrap: int
) -> Evaluate:
    from speech.judges.settings import ASR, Evaluate, Phonemes, Quality

    names = [name.strip() for name in quality.split(",") if name.strip()]
    if unknown := [name for name in names if name not in get_args(Quality)]:
        raise UserError(f"--quality: {unknown[0]} is no judge of quality; known are {', '.join(get_args(Quality))}")
    embedded = phonemes in ("pocketsphinx", "none")
    try:
        heard = ASR(cast(Any, asr.value), cast(Any, mode), model)
        phones = Phonemes(cast(Any, phonemes)) if embedded else Phonemes("ctc", phonemes)
        return Evaluate(heard, phones, {}, cast(Any, names), {}, speaker.value, 4.0, 0.2, "lag", bootstrap)
    except (ValueError, KeyError) as error:
        raise UserError(f"respeak evaluate: {error}") from None


def _name(path: Path, systems: list[Path]) -> str:
    """Return a folder's name; more of its path where two end alike."""
    if [other.resolve().name for other in systems].count(path.resolve().name) == 1:
        return path.resolve().name
    return "_".join(path.resolve().parts[-2:])


def _report_unmatched(made: set[str], known: dict[str, Path], texts: dict[str, str]) -> None:
    for what, given in (("reference", known), ("text", texts)):
        if given and (lacking := sorted(made - set(given))):
            shown = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
            typer.echo(f"{len(lacking)} of {len(made)} recordings have no {what}: {shown}", err=True)
            if len(lacking) == len(made):
                raise UserError(f"no recording has a {what}: they belong together by the name without suffix")


def _judge(name: str, task: Task, workers: int) -> tuple[list[Row], list[str]]:
    from respeak.judges.judge_folders import judge_all

    rows, skipped = judge_all(task, workers)
    for reason in skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    if not rows:
        raise UserError(f"{name}: none of its recordings can be judged")
    typer.echo(f"{name}: {len(rows)} of {len(task.recordings)} recordings judged", err=True)
    return rows, skipped


def _write(
    out: Path,
    rows: dict[str, list[Row]],
    recordings: dict[str, dict[str, Path]],
    judges: Evaluate,
    sentences: int,
    matched: tuple[int, int],
) -> None:
    from respeak.judges.digit_judge import read_real
    from respeak.judges.panel import describe
    from respeak.results import evaluated, table
    from respeak.results.measured import Measured
    from respeak.results.paired import Paired, read_sums
    from speech.metrics.summary import UTTERANCES, digit_set_metrics, utterance_metrics
    from speech.storage.files import write_json, write_text
    from speech.storage.shards import write_shard

    for name, found in rows.items():
        whole = [{column: row.get(column) for column in UTTERANCES.names} for row in found]
        write_shard(out / name / "utterances.parquet", whole, UTTERANCES, {"system": name})
        rows[name] = whole
    real, draws = read_real(judges.digits), judges.bootstrap
    metrics = {
        name: utterance_metrics(found, draws, 0) | digit_set_metrics(found, real, draws, 0)
        for name, found in rows.items()
    }
    sums = {name: read_sums(out / name / "utterances.parquet") for name in rows}
    measured = Measured(metrics, Paired(sums, judges.bootstrap, 0))
    labels = {name: "references" if name == "ground_truth" else name for name in rows}
    context = {
        "utterances": max(len(found) for found in rows.values()),
        "texts": matched[0],
        "references": matched[1],
        "bootstrap": judges.bootstrap,
        "judges": describe(judges, F0) | {"speaker": f"{judges.speaker_judge}, utterance by utterance"},
    }
    made = evaluated.make_table(f"Judged: {', '.join(labels.values())}", labels, measured, context)
    for suffix, form in (("md", table.to_markdown), ("csv", table.to_csv), ("tex", table.to_latex)):
        write_text(out / f"table.{suffix}", form(made))
    write_json(out / "table.json", table.to_json(made))
    phonemes = evaluated.phonemes_of(labels, out, judges.bootstrap, 0)
    write_text(out / "phonemes.csv", phonemes)
    write_text(out / "index.html", evaluated.make_page(made, recordings, rows, phonemes, sentences, F0))
    typer.echo(table.to_markdown(made))
    typer.echo(f"{out / 'index.html'}: the table, and {sentences} sentences to be heard")
