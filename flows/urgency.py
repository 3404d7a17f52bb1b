"""Which stage goes first where there are more than cores: the one with the longest way to the graph's end before it.

A short way left to the end can fill a core beside a long one; a long stage begun last has the machine to itself. Only
the order of stages hangs on how long they take, so rough figures will do, and none is an estimate that anyone is shown
(:mod:`flows.planning.costs` makes those, and tries networks to do so).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from flows.graph import Graph

START_SECONDS = 2.0  # of any stage: DVC, Python, imports
# Processor-seconds for a megabyte of what a stage reads: half a minute of audio in FLAC.
PER_MEGABYTE = {"evaluate": 2.0, "f0": 0.5, "features": 0.5, "soft_units": 0.5, "speakers": 1.0, "synthesize": 5.0}
OTHERS_PER_MEGABYTE = 0.1
# A training takes its steps' time whatever it reads, and is longer than all that goes before it.
TRAINING_SECONDS = {"train_f0_vq": 60.0, "pretrain": 600.0, "finetune_": 600.0, "train_": 600.0}


class Urgency:
    """How urgent the stages of a graph are, in seconds; as runs go on, more is known of what stages read."""

    def __init__(self, root: Path, graph: Graph) -> None:
        self.root = root
        self.graph = graph
        self._sizes: dict[str, float] = {}

    def of(self, name: str) -> float:
        """Seconds of work from the stage's beginning to the end of the graph, along the longest way."""
        return self._ways()[name]

    def _ways(self) -> Mapping[str, float]:
        read: dict[str, float] = {}
        for name, node in self.graph.items():  # upstream first
            known = sum(self._megabytes(path) for path in node.reads)
            # What is not made yet will be about as large as what it is made from.
            read[name] = known or max((read[other] for other in node.upstream), default=0.0)
        ways: dict[str, float] = dict.fromkeys(self.graph, 0.0)
        for name in reversed(list(self.graph)):
            ways[name] += seconds(name, read[name])
            for other in self.graph[name].upstream:
                ways[other] = max(ways[other], ways[name])
        return ways

    def _megabytes(self, path: str) -> float:
        if not self._sizes.get(path):
            self._sizes[path] = size(self.root / path) / 1e6
        return self._sizes[path]


def seconds(name: str, megabytes: float) -> float:
    """Roughly, of a stage that reads so much."""
    for prefix, training in TRAINING_SECONDS.items():
        if name.startswith(prefix):
            return training
    return START_SECONDS + megabytes * PER_MEGABYTE.get(name.partition("@")[0], OTHERS_PER_MEGABYTE)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 of what is not there, or vanishes meanwhile.

    DVC removes what a stage made before it lets it run again, while others are being put in order.
    """
    if path.is_dir():
        return sum(_bytes(Path(folder, name)) for folder, _, names in os.walk(path) for name in names)
    return _bytes(path)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
