"""Give the best conversion model its name in MLflow's registry: ``python -m stages.tracking.model_registry``.

Candidates are the logged models that a run of ``evaluate`` has judged at plain conversion: own units, trained weights,
voices that the model knows, the melody its own. Only runs by the same judges on the same recordings compare: those of
the newest such run. The rule: of the models whose conversions are nearest to the intended speaker at least so often
(``--speaker``, 90 %), the one of the lowest WER, of two alike the newer. It becomes the next version of
``respeak-conversion`` and has the alias ``best``; a model that has it already is left alone::

    mlflow.pyfunc.load_model("models:/respeak-conversion@best").predict(table, params={"target": "ann"})
    mlflow models serve --env-manager local --model-uri models:/respeak-conversion@best
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech.errors import UserError
from stages.tracking.collector import Collector
from stages.tracking.tracker import main_root

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

NAME, ALIAS = "respeak-conversion", "best"
SPEAKER_PERCENT = 90.0
PLAIN = {
    "task": "conversion",
    "units": "own",
    "weights": "trained",
    "voices": "seen",
    "melody": "own",
    "semitones": "0.0",
    "span": "1.0",
}
SHOWN = ("wer", "wer_low", "wer_high", "cer", "speaker_accuracy", "eer")


@dataclass(frozen=True)
class Candidate:
    """A logged model and what a run of ``evaluate`` measured of its conversions."""

    model: str
    run: str
    began: int
    judged_by: tuple[Any, ...]
    metrics: dict[str, float]


def candidates(client: MlflowClient, experiment: str) -> list[Candidate]:
    """Return the models whose conversions were judged as those of the newest such run were, newest first."""
    query = "tags.stage = 'evaluate' and attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment], query, max_results=5000, order_by=["attributes.start_time DESC"])
    # What is found by a search states nothing of models.
    found = [_candidate(client.get_run(run.info.run_id)) for run in runs if _is_plain(run)]
    judged = [candidate for candidate in found if candidate]
    return [candidate for candidate in judged if candidate.judged_by == judged[0].judged_by]


def _is_plain(run: Run) -> bool:
    return all(run.data.params.get(f"experiment.{key}") == value for key, value in PLAIN.items())


def _candidate(run: Run) -> Candidate | None:
    models = run.inputs.model_inputs if run.inputs else []
    if not run.inputs or len(models) != 1 or not {"wer", "speaker_accuracy"} <= run.data.metrics.keys():
        return None
    judges = sorted((key, value) for key, value in run.data.params.items() if key.startswith("judges."))
    inputs = [(entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs]
    recordings = sorted((name, digest) for name, digest in inputs if name.startswith("data/"))
    info = run.info
    return Candidate(models[0].model_id, info.run_id, info.start_time, (*judges, *recordings), run.data.metrics)


def choose(found: Sequence[Candidate], speaker: float) -> Candidate:
    """Choose the best by the rule.

    Raises:
        UserError: nothing was judged, or nothing is near enough to the intended speakers.
    """
    if not found:
        raise UserError("no conversion by a logged model was judged yet; run 'make reproduce', with MLflow in reach")
    near = [candidate for candidate in found if candidate.metrics["speaker_accuracy"] >= speaker]
    if not near:
        most = max(candidate.metrics["speaker_accuracy"] for candidate in found)
        raise UserError(
            f"none of {len(found)} judged models is nearest to the intended speaker in {speaker:g} % of its "
            f"conversions; the most is {most:.1f} %: train longer, or give --speaker"
        )
    return min(near, key=lambda candidate: (candidate.metrics["wer"], -candidate.began))


def register(client: MlflowClient, best: Candidate, rule: str) -> tuple[str, bool]:
    """Make a model the registry's best; return its version, and whether it is a new one."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(NAME, description=f"The best voice conversion: {rule}.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    aliases = client.get_registered_model(NAME).aliases
    if (held := aliases.get(ALIAS)) and client.get_model_version(NAME, held).tags.get("model") == best.model:
        return str(held), False
    tags = {name: f"{best.metrics[name]:g}" for name in SHOWN if name in best.metrics}
    tags |= {"model": best.model, "evaluated_by": best.run, "rule": rule}
    made = client.create_model_version(NAME, f"models:/{best.model}", tags=tags, model_id=best.model)
    client.set_registered_model_alias(NAME, ALIAS, made.version)
    return str(made.version), True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; print which model it is, and why."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.tracking.model_registry", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--root", type=Path, default=main_root(), help="the project's root")
    parser.add_argument(
        "--speaker",
        type=float,
        default=SPEAKER_PERCENT,
        metavar="PERCENT",
        help="how often the intended speaker is to be nearest (90)",
    )
    options = parser.parse_args(arguments)
    rule = f"lowest WER of those nearest to the intended speaker in at least {options.speaker:g} %"
    try:
        best, number, is_new, judged = _register_best(options.root, options.speaker, rule)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    print(
        f"{NAME}@{ALIAS}: version {number}{'' if is_new else ' (as before)'}, model {best.model}, one of {judged} "
        f"judged: WER {best.metrics['wer']:.1f} %, nearest speaker {best.metrics['speaker_accuracy']:.1f} % ({rule})"
    )
    return 0


def _register_best(root: Path, speaker: float, rule: str) -> tuple[Candidate, str, bool, int]:
    import mlflow
    from mlflow.exceptions import MlflowException

    collector = Collector(root)
    try:
        client = collector.client
        mlflow.set_tracking_uri(client.tracking_uri)  # the registry looks models up there, whoever asks
        found = candidates(client, collector.experiment)
        best = choose(found, speaker)
        return best, *register(client, best, rule), len(found)
    except MlflowException as error:
        raise UserError(f"MLflow: {' '.join(str(error).split())[:300]}") from error


if __name__ == "__main__":
    sys.exit(main())
