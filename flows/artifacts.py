"""The artifacts of a reproduction in Prefect's pages: the tables, the report, the run in MLflow."""

from __future__ import annotations

import csv
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact


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
