"""What runs golden cases on our code: a module per system, each with ``ADAPTERS`` by the name of the case."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from tests.golden.fill import Case

# Folder of vectors -> module with the adapters of its cases.
SYSTEMS = {
    "speech-resynthesis": "tests.golden.adapters.speech_resynthesis",
    "soft-vc": "tests.golden.adapters.soft_vc",
    "asgan": "tests.golden.adapters.asgan",
}
# Systems that there are vectors of, but no code yet.
AWAITED = ("streamvc", "pitdyn")
# Cases of a system at work whose adapters are still to be written; each is to leave this list.
PENDING = frozenset(
    f"asgan/{case}"
    for case in (
        "collate",
        "discriminator",
        "generate_from_latent",
        "generator",
        "hubert_vocoder_inferred",
        "r1_penalty",
        "train_step",
    )
)


def adapters_of(system: str) -> dict[str, Callable[[Case], None]]:
    """Adapters of a system's cases; each raises where our code differs from the case."""
    return importlib.import_module(SYSTEMS[system]).ADAPTERS
