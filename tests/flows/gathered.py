"""Cores that wait for the slowest of their threads: who is first must not hang on how soon a thread begins."""

from __future__ import annotations

from flows.machine import Cores
from flows.reproduction import DONE, Reproduction


class Gathered(Cores):
    """Serves nobody before every stage that may begin is in the queue; all of them have to be out of date."""

    def __init__(self, total: int, work: Reproduction) -> None:
        super().__init__(total)
        self._work = work

    def _next(self, free_gpu: bool) -> str | None:
        work = self._work
        begun = work.results.keys() | work._granted.keys()
        well = {name for name, result in work.results.items() if result.outcome in DONE and work._left[name].is_set()}
        able = {name for name, node in work.graph.items() if well.issuperset(node.upstream)} - begun
        return super()._next(free_gpu) if able <= self._waiting.keys() else None
