"""The check, before a run begins, that all it needs is there, by the facts of its stages.

DVC's cache and the working tree hold one copy where the disk knows reflinks or hard links, as most do.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from flows.graph import Graph
from speech.errors import UserError
from speech.fetching.downloads import describe_size
from stages.facts import facts_of
from stages.facts.scene import Scene
from stages.params.whole import load_params


def check(root: Path, graph: Graph) -> None:
    """Refuse a run that would end in the middle: for want of a corpus, of weights, or of disk.

    Raises:
        UserError: one line with everything that is missing, or what ``params.yaml`` states that cannot be.
    """
    path = root / "params.yaml"
    if not path.is_file():  # a graph of somebody's own
        return
    problems = list(missing(Scene(root, load_params(path)), [n for n, node in graph.items() if node.changed]))
    if problems:
        raise UserError(f"nothing was started: {'; '.join(problems)}")


def missing(scene: Scene, stages: Iterable[str]) -> Iterator[str]:
    """Yield in words what stages that would run lack."""
    needed = 0.0
    for stage in stages:
        facts, variant = facts_of(stage), stage.partition("@")[2]
        yield from facts.missing(scene, variant)
        needed += facts.disk(scene, variant)
    free = shutil.disk_usage(scene.root).free
    if needed > free:
        yield f"{describe_size(round(needed))} of disk are needed, {describe_size(free)} are free in {scene.root}"
