"""What runs golden cases on our code: a module per system, each with ``ADAPTERS`` by the name of the case."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from tests.golden.fill import Case

# Folder of vectors -> module with the adapters of its cases.
SYSTEMS = {
    "speech-resynthesis": "tests.golden.adapters.speech_resynthesis",
    "soft-vc": "tests.golden.adapters.soft_vc",
}
# Systems that there are vectors of, but no code yet.
AWAITED = ("streamvc", "asgan", "pitdyn")
# Cases of a system at work whose adapters are still to be written; each is to leave this list.
PENDING = frozenset({})


def adapters_of(system: str) -> dict[str, Callable[[Case], None]]:
    """Adapters of a system's cases; each raises where our code differs from the case."""
    return importlib.import_module(SYSTEMS[system]).ADAPTERS
