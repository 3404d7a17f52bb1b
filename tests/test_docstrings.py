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


@pytest.mark.parametrize("path", SOURCES)
def test_docstrings_are_sentences_of_a_verb_or_a_noun(path: str) -> None:
    assert not faults(path)
