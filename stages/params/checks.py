"""Checks across sections of ``params.yaml``, in one place; what a section alone can tell it checks itself.

A check runs wherever all the sections that it compares are read: all of them for the whole file, those that concern it
for a stage.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

COMMON = "common"
"""The ``table`` of an experiment that every table has."""


def check(sections: Mapping[str, Any]) -> None:
    """Run every check whose sections are all among ``sections``.

    Raises:
        ValueError: two sections contradict each other; names the keys.
    """
    for compare in (_frames_for_means, _frames_to_fit, _roles_are_corpora, _experiments_have_tables):
        needed = inspect.signature(compare).parameters
        if needed.keys() <= sections.keys():
            compare(**{name: sections[name] for name in needed})
    if "corpora" in sections:
        _variants_are_of_corpora(sections)


def _frames_for_means(features: Any, kmeans: Any) -> None:
    if features.keep < 1 and kmeans.normalise == "speaker":
        raise ValueError(
            f"features.keep {features.keep} stores too few frames for a speaker's mean over all of their "
            "recordings; set kmeans.normalise to none or utterance, or features.keep to 1"
        )


def _frames_to_fit(features: Any, kmeans: Any) -> None:
    if features.keep == 0 and kmeans.source == "fit":
        raise ValueError("features.keep 0 leaves kmeans nothing to fit; raise it, or set kmeans.source")


def _roles_are_corpora(roles: Any, corpora: Mapping[str, Any]) -> None:
    for role, name in dataclasses.asdict(roles).items():
        if name not in corpora:
            raise ValueError(f"roles.{role} names corpus '{name}', but corpora has {', '.join(corpora)}")


def _experiments_have_tables(experiments: Mapping[str, Any], tables: Mapping[str, Any]) -> None:
    if COMMON in tables:
        raise ValueError(f"tables.{COMMON}: '{COMMON}' stands for every table; call this one something else")
    for name, experiment in experiments.items():
        if experiment.table not in (COMMON, *tables):
            known = ", ".join((COMMON, *tables))
            raise ValueError(f"experiments.{name}.table names '{experiment.table}'; known are {known}")
    named = {experiment.table for experiment in experiments.values()}
    if lonely := [name for name in tables if name not in named]:
        raise ValueError(f"tables.{lonely[0]} has no experiment of its own; name it in one's table, or take it out")


def _variants_are_of_corpora(sections: Mapping[str, Any]) -> None:
    """Check the variants of whatever section has some that name a corpus: a new system's too."""
    corpora = sections["corpora"]
    for section in sections.values():
        for variant in getattr(section, "variants", {}).values():
            corpus = getattr(variant, "corpus", None)
            if corpus is not None and corpus not in corpora:
                known, kind = ", ".join(corpora), type(section).__name__
                raise ValueError(f"a variant of {kind} names corpus '{corpus}', but corpora has {known}")
