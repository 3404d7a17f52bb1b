"""Finds papers, which are the modules beside this one, and their tables.

``params.yaml`` says which tables are made, and of which paper each is.
"""

from __future__ import annotations

import importlib
import pkgutil

import stages.papers
from speech.errors import UserError
from stages.papers.paper_table import Entry

_NO_PAPERS = ("registry", "paper_table")


def papers() -> list[str]:
    """Return the names of all papers."""
    return [found.name for found in pkgutil.iter_modules(stages.papers.__path__) if found.name not in _NO_PAPERS]


def all_tables() -> dict[str, Entry]:
    """Return every table of every paper, whether it is made or not."""
    return {name: entry for paper in papers() for name, entry in _tables_of(paper).items()}


def find_table(name: str, paper: str) -> Entry:
    """Return a paper's table.

    Raises:
        UserError: there is no such paper, or it has no such table.
    """
    if paper not in papers():
        raise UserError(f"params.yaml: tables.{name}.paper: no paper '{paper}'; known are {', '.join(papers())}")
    known = _tables_of(paper)
    if name not in known:
        raise UserError(f"params.yaml: tables.{name} is no table of {paper}, which has {', '.join(known)}")
    return known[name]


def _tables_of(paper: str) -> dict[str, Entry]:
    found: dict[str, Entry] = importlib.import_module(f"stages.papers.{paper}").TABLES
    return found
