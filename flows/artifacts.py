"""The artifacts of a reproduction in Prefect's pages: how far a stage is, the tables, the report, the run in MLflow."""

from __future__ import annotations

import csv
import re
import time
from pathlib import Path
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

UPDATE_SECONDS = 2.0
# "f0: 3/12 shards, 5 s left" of a stage that works shard by shard, "step 300/2400 train ..." of one that trains.
_COUNT = re.compile(r"^(?:step|[\w@ -]+:) (?P<done>\d+)/(?P<total>[1-9]\d*)\b")


class Progress:
    """A stage's progress bar, from the lines in which it counts; used within the stage's task."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._artifact: UUID | None = None
        self._shown = time.monotonic()  # a stage that is done in a moment needs no bar

    def hear(self, line: str) -> None:
        """Move the bar to where ``line`` says; a server that does not answer is no reason to stop the stage."""
        percent = percentage(line)
        now = time.monotonic()
        is_last = percent == 100 and self._artifact is not None
        if percent is None or (now - self._shown < UPDATE_SECONDS and not is_last):
            return
        self._shown = now
        try:
            if self._artifact is None:
                self._artifact = _identifier(
                    create_progress_artifact(percent, key=f"progress-{slug(self.stage)}", description=line)
                )
            else:
                update_progress_artifact(self._artifact, percent, description=line)
        except (httpx.HTTPError, PrefectException):  # the stage's lines state the same
            return


def percentage(line: str) -> float | None:
    """Return how much of its work a stage's line states as done; None for a line about something else."""
    counted = _COUNT.match(line)
    return min(100.0, 100.0 * int(counted["done"]) / int(counted["total"])) if counted else None


def publish(root: Path, url: str) -> None:
    """Publish the tables, the report and the MLflow run."""
    for path in sorted(root.glob("tables/*/table.md")):
        name = path.parent.name
        create_markdown_artifact(path.read_text(), key=f"report-{slug(name)}", description=f"table {name}")
        if (rows := path.with_suffix(".csv")).is_file():
            with rows.open(newline="") as handle:
                create_table_artifact(list(csv.DictReader(handle)), key=f"table-{slug(name)}", description=name)
    if (report := root / "reports" / "index.html").is_file():
        where = f"every table, and every system to be heard: open {report} in a browser on the machine where it lies"
        create_link_artifact(report.as_uri(), "the report", key="report", description=where)
    if url:
        create_link_artifact(url, "the run in MLflow", key="mlflow-run", description="parameters, series and pictures")


def slug(name: str) -> str:
    """Return a name as Prefect's keys are: ``features@demo`` is ``features-demo``."""
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def _identifier(artifact: object) -> UUID:
    assert isinstance(artifact, UUID), "created by a synchronous call"
    return artifact
