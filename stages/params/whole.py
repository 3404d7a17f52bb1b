"""The whole of ``params.yaml``, put together from the sections that this package's modules define.

A module says which top-level keys it describes by ``SECTIONS``, so that a new system brings a file and edits none. A
stage reads its own sections alone (:class:`stages.params.runtime.Common`); the whole is for what composes the file and
plans with it. Comments with units and reasons live beside the values in ``conf/``.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stages.params
from speech.errors import UserError
from stages.params.experiments import ExperimentParams
from stages.params.schema import read_file, read_params

READERS = ("compose", "whole")
"""The modules of this package that read the whole, and define none of it."""


def _sections() -> dict[str, Any]:
    """Return every top-level key of ``params.yaml`` with its type."""
    found: dict[str, Any] = {}
    for name in [module.name for module in pkgutil.iter_modules(stages.params.__path__) if module.name not in READERS]:
        sections = getattr(importlib.import_module(f"stages.params.{name}"), "SECTIONS", {})
        if twice := found.keys() & sections:
            raise TypeError(f"stages/params/{name}.py: another file too defines section {min(twice)}")
        found |= sections
    return found


if TYPE_CHECKING:

    @dataclasses.dataclass(frozen=True)
    class Params(ExperimentParams):
        """Every section, by its key."""

        def __getattr__(self, name: str) -> Any: ...
else:
    Params = dataclasses.make_dataclass(
        "Params",
        list(_sections().items()),
        bases=(ExperimentParams,),
        namespace={"__module__": __name__, "__doc__": "Every section, by its key."},
        frozen=True,
    )


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check all of ``params.yaml``.

    Raises:
        UserError: the file is missing, or a key is unknown, missing, of the wrong type or impossible; names the key.
    """
    from stages.synthesis.contract import check_experiment

    params = read_params(Params, read_file(path), path)
    for name, experiment in params.experiments.items():
        try:
            check_experiment(experiment)
        except UserError as error:
            raise UserError(f"{Path(path).name}: experiments.{name}: {error}") from None
    return params
