"""Docstrings are whole sentences: a function's begins with a verb, that of a class, property or module with a noun."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.runtime.declared import ROOMS

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = sorted(str(path.relative_to(PROJECT)) for room in ROOMS for path in (PROJECT / room).rglob("*.py"))
FRAGMENTS = {
    *("Of", "What", "That", "Those", "Whether", "Where", "How", "Who", "Whose", "Which", "Why", "When", "If"),
    *("As", "By", "In", "On", "At", "For", "From", "To", "With", "Without"),
}
# Such words may begin the name of a thing, but no order.
NOUNS = {
    *("A", "An", "The", "Its", "Their", "One", "Two", "And", "Or", "But", "All", "Both", "Each", "Every"),
    *("Everything", "It", "This", "These", "None", "No", "Any"),
}
# Files that do not conform yet.
PENDING = {
    "flows/artifacts.py",
    "flows/children.py",
    "flows/compose.py",
    "flows/deployments.py",
    "flows/flow.py",
    "flows/grid.py",
    "flows/locks.py",
    "flows/machine.py",
    "flows/planning/costs.py",
    "flows/planning/preflight.py",
    "flows/planning/step_benchmark.py",
    "flows/reproduction.py",
    "flows/server.py",
    "flows/sweep.py",
    "models/hifigan/reach.py",
    "respeak/cli/corpus_commands.py",
    "respeak/cli/evaluate_command.py",
    "respeak/cli/render_commands.py",
    "respeak/cli/units_commands.py",
    "respeak/results/measured.py",
    "respeak/systems/base.py",
    "respeak/systems/resynthesis/piecewise.py",
    "respeak/systems/resynthesis/receptive_field.py",
    "respeak/systems/softvc/published_files.py",
    "stages/encoder.py",
    "stages/evaluate.py",
    "stages/facts/corpus_sizes.py",
    "stages/facts/evaluation.py",
    "stages/facts/facts.py",
    "stages/facts/resynthesis.py",
    "stages/facts/softvc.py",
    "stages/facts/units.py",
    "stages/features.py",
    "stages/judging/answers.py",
    "stages/judging/speaker_trials.py",
    "stages/kmeans.py",
    "stages/papers/paper_table.py",
    "stages/papers/polyak2021.py",
    "stages/params/audio.py",
    "stages/params/checks.py",
    "stages/params/corpora.py",
    "stages/params/digit_classifier.py",
    "stages/params/experiments.py",
    "stages/params/runtime.py",
    "stages/params/softvc.py",
    "stages/report.py",
    "stages/reporting/players.py",
    "stages/reporting/run_times.py",
    "stages/runtime/declared.py",
    "stages/runtime/engine.py",
    "stages/runtime/faults.py",
    "stages/runtime/fingerprint.py",
    "stages/runtime/jobs.py",
    "stages/runtime/processes.py",
    "stages/runtime/stage.py",
    "stages/softvc.py",
    "stages/synthesis/worker.py",
    "stages/synthesize.py",
    "stages/tables.py",
    "stages/tracking/collector.py",
    "stages/tracking/lineage.py",
    "stages/tracking/logged_models.py",
    "stages/tracking/machine_load.py",
    "stages/tracking/model_registry.py",
    "stages/tracking/own_outputs.py",
    "stages/tracking/tracker.py",
    "stages/training/run.py",
    "stages/unit_quality.py",
    "stages/units.py",
}


def documented(tree: ast.Module) -> Iterator[tuple[str, str, bool]]:
    """Yield name, docstring, and whether it is that of a function, for each that is there."""
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if (text := ast.get_docstring(node)) is None:
            continue
        decorators = {ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])}
        acts = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        is_property = bool(decorators & {"property", "functools.cached_property", "cached_property"})
        yield getattr(node, "name", "the module"), text, acts and not is_property


def faults(path: str) -> list[str]:
    found = []
    for name, text, acts in documented(ast.parse((PROJECT / path).read_text())):
        first = text.split("\n\n")[0]
        word = first.split()[0].rstrip(",:")
        if word in FRAGMENTS or (acts and word in NOUNS):
            found.append(f"{name}: begins with '{word}'")
        if not first.rstrip().endswith((".", "!", "?", ":")):
            found.append(f"{name}: ends without a period")
    return found


@pytest.mark.parametrize("path", [path for path in SOURCES if path not in PENDING])
def test_docstrings_are_sentences_of_a_verb_or_a_noun(path: str) -> None:
    assert not faults(path)


def test_what_is_pending_is_still_to_do() -> None:
    assert not [path for path in sorted(PENDING) if not (PROJECT / path).exists() or not faults(path)]
