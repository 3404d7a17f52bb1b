"""Sections ``scale``, ``seed`` and ``runtime``: what any stage may read, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.params.schema import fraction, positive


@dataclass(frozen=True)
class Runtime:
    """Settings of how work is run: threads and workers within the cores, the device, shard length (minutes of audio).

    ``cluster``: address of a Dask scheduler that shard work goes to, or null for this machine's own processes.
    """

    threads: int
    workers: int
    device: Literal["auto", "cpu", "cuda"]
    shard_minutes: float
    max_reject_fraction: float
    cluster: str | None = None

    def __post_init__(self) -> None:
        positive(self, "threads", "workers", "shard_minutes")
        fraction(self, "max_reject_fraction")


@dataclass(frozen=True)
class Common:
    """The parameters of every stage; a stage adds a field for each further section of ``params.yaml`` that it reads.

    A field whose section ``dvc.yaml`` does not list for the stage is ``Annotated`` with how else it takes effect.
    """

    scale: str
    runtime: Runtime


SECTIONS = {"scale": str, "seed": int, "runtime": Runtime}
