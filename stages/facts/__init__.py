"""Facts beside the stages, which the planner, the scheduler, the GPU machine's script and the stages themselves ask.

Each module here holds the facts of the stages of one purpose, ``STAGES``, and how synthesis by the systems that they
make is timed, ``SYSTEMS``; where a system sends codes beside the units, their ``BIT_RATES``. They are collected: a new
system brings a module of its own and edits no other. All are light to import, because every stage asks when it starts;
what tries networks imports them when it is called.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from stages.facts.facts import Facts, Systems

if TYPE_CHECKING:
    from stages.params.whole import Params


@functools.cache
def all_facts() -> Mapping[str, Facts]:
    """Return the facts of every stage by name."""
    return _collect("STAGES")


@functools.cache
def all_systems() -> Systems:
    """Return, by a system's name, the trials that time its synthesis for an experiment."""
    return _collect("SYSTEMS")


@functools.cache
def all_bit_rates() -> Mapping[str, Callable[[Mapping[str, Any]], float]]:
    """Return, by a system's name, what tells the bits per second of its codes beside units from raw parameters."""
    return _collect("BIT_RATES")


def facts_of(stage: str) -> Facts:
    """Return the facts of a stage, ``units`` or ``units@demo``; of one that nobody has described, that it is little."""
    return all_facts().get(stage.partition("@")[0], Facts())


def wants_gpu(stage: str, params: Params | None) -> bool:
    """Return whether a stage, ``evaluate@flat``, works on a GPU; without ``params``, whether it trains."""
    facts = facts_of(stage)
    if params is None:
        return facts.trains
    return params.runtime.device != "cpu" and facts.wants_gpu(params, stage.partition("@")[2])


def _collect(name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(__path__):
        declared = getattr(importlib.import_module(f"{__name__}.{module.name}"), name, {})
        assert not found.keys() & declared.keys(), f"{module.name}: {name} of another module"
        found |= declared
    return found
