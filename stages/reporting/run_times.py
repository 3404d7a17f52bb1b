"""Times of each stage's last run, and where MLflow keeps it: from MLflow's sqlite file and the stages' journals."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

LOCAL = "http://127.0.0.1:5000"  # where `make mlflow` serves


@dataclass(frozen=True)
class StageRun:
    """The last finished run of a stage: when it began (ms since 1970), its wall time in seconds, its page."""

    name: str
    began: int
    seconds: float
    url: str = ""


def read_runs(root: Path) -> list[StageRun]:
    """Read the last finished run of every stage, in the order in which they began; empty where nothing was recorded.

    MLflow's file is only read, without MLflow. Runs on a server are not looked up: this stage calls nobody.
    """
    newest: dict[str, StageRun] = {}
    for run in [*_from_mlflow(root / "mlflow.db"), *_from_journals(root / ".scratch" / "runs")]:
        if run.name not in newest or run.began >= newest[run.name].began:
            newest[run.name] = run
    return sorted(newest.values(), key=lambda run: (run.began, run.name))


def _from_mlflow(path: Path) -> Iterator[StageRun]:
    if not path.is_file():
        return
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    base = server.rstrip("/") if server.startswith("http") else LOCAL
    query = (
        "select r.name, r.start_time, r.end_time, r.experiment_id, r.run_uuid from runs r join tags t"
        " on t.run_uuid = r.run_uuid and t.key = 'stage' where r.status = 'FINISHED' and r.lifecycle_stage = 'active'"
    )
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)
    try:
        rows = connection.execute(query).fetchall()
    except sqlite3.Error:  # another MLflow's layout, or a file being made: the page does without
        rows = []
    finally:
        connection.close()
    for name, start, end, experiment, run in rows:
        if start is not None and end is not None:
            yield StageRun(name, int(start), (end - start) / 1000, f"{base}/#/experiments/{experiment}/runs/{run}")


def _from_journals(directory: Path) -> Iterator[StageRun]:
    """Yield runs that MLflow has not got yet: closed journals of stages."""
    for path in sorted(directory.glob("*.jsonl")):
        try:
            events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError):  # the collector took it away, or a writer was killed in mid-line
            continue
        if not events or not events[0].get("tags", {}).get("stage"):
            continue
        first, last = events[0], events[-1]
        if last.get("event") == "close" and last.get("status") == "FINISHED":
            yield StageRun(first["name"], first["time"], (last["time"] - first["time"]) / 1000)


def runs_section(runs: Sequence[StageRun]) -> str:
    """Draw wall times as bars, with links to MLflow."""
    if not runs:
        return "<p>No finished run of a stage is recorded here.</p>"
    longest = max(run.seconds for run in runs) or 1.0
    rows = "".join(_run_row(run, longest) for run in runs)
    total = sum(run.seconds for run in runs)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="run times"><table class="runs"><thead><tr>'
        f'<th scope="col">stage</th><th scope="col">wall time</th><th></th><th scope="col">MLflow</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        f'<p class="caption">The last finished run of each stage; {duration(total)} in all, one after another. Links '
        f"to this machine work while <code>make mlflow</code> runs.</p>"
    )


def _run_row(run: StageRun, longest: float) -> str:
    link = f'<a href="{escape(run.url)}">run</a>' if run.url else ""
    width = 100 * run.seconds / longest
    return (
        f'<tr><th scope="row">{escape(run.name)}</th><td>{duration(run.seconds)}</td>'
        f'<td class="bar"><i style="width:{width:.1f}%"></i></td><td>{link}</td></tr>'
    )


def duration(seconds: float) -> str:
    """Return a time for people: ``0.4 s``, ``47 s``, ``16 min 48 s``, ``2 h 05 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
