"""Bring the stages' journals into MLflow: ``python -m stages.tracking.collector [--follow SESSION]``.

Stages start it themselves; by hand, it uploads what was kept while MLflow was out of reach. One pass reads the new
lines of every journal in ``.scratch/runs``; a journal that is closed, or whose process died, is finished and removed.

Runs go to ``MLFLOW_TRACKING_URI``, or to ``mlflow.db`` and ``mlartifacts/`` at the project's root, by absolute path:
DVC runs queued experiments in temporary copies of the tree, and a relative one would vanish with them.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech.storage.files import write_json
from stages.runtime.processes import is_alive
from stages.tracking.logged_models import find_models, log_bundle
from stages.tracking.tracker import MODELS, RUNS, main_root

if TYPE_CHECKING:
    from mlflow import MlflowClient

POLL_SECONDS = 2.0
BATCH = 1000  # the most metrics MLflow takes at once
LOCK = "dvc.lock"
EXPERIMENT_KIND = "mlflow.experimentKind"  # so that MLflow's pages begin with runs, not with traces of language models
OF_STAGES = ("stage", "variant", "DVC_STAGE", "mlflow.source.name")  # tags that the run of a session does not have
MODEL_TAGS = ("scale", "commit", "dvc_rev", "DVC_EXP_NAME", "stage", "variant")  # of a run, that its models have too
ABANDONED_SECONDS = 600.0  # a journal of another machine that nobody has written to for so long


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold ``path`` alone among processes; yield False, at once, when ``wait`` is off and another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


class Collector:
    """A collector that replays the journals of one project into one MLflow experiment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / RUNS
        self.state = root / ".scratch" / "mlflow"
        self._client: MlflowClient | None = None
        self.experiment = ""

    def pass_over(self) -> None:
        """Upload what is new in every journal; one that MLflow refuses does not keep back the others.

        Raises:
            Exception: whatever MLflow raises when it cannot be reached or refuses; the next pass tries again.
        """
        refused: Exception | None = None
        with locked(self.state / "pass.lock"):
            for journal in sorted(self.runs.glob("*.jsonl")):
                try:
                    self._replay(journal)
                except Exception as error:
                    if self._client is None:
                        raise
                    refused = error
        if refused:
            raise refused

    def session_path(self, session: str) -> Path:
        """Return the file in which the parent run of a session is noted."""
        return self.state / "sessions" / f"{session}.json"

    def settle(self) -> None:
        """Complete the parent of every ended session: with ``dvc.lock``, and how the whole of it ended."""
        for path in sorted(self.session_path("x").parent.glob("*.json")):
            note, lives = _read_json(path), is_alive(path.stem)
            if not note.get("settled") and (note.get("closed") or not lives):
                self._attach_lock(note)
                if not note.get("own_run"):
                    self.client.set_terminated(note["run_id"], note.get("worst", "FINISHED"))
                write_json(path, note | {"settled": True})
            if not lives:
                path.unlink()

    def _attach_lock(self, note: dict[str, Any]) -> None:
        """Attach ``dvc.lock``: an experiment's from its commit, for the copy of the tree that it ran in may be gone."""
        run = note["run_id"]
        if found := experiment_lock(self.root, note.get("experiment", "")):
            revision, text = found
            self.client.set_tag(run, "dvc_rev", revision)
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / LOCK).write_text(text, encoding="utf-8")
                self._upload_artifact(run, Path(folder) / LOCK, Path(folder))
        elif "tree" in note and (lock := Path(note["tree"]) / LOCK).is_file():
            self._upload_artifact(run, lock, lock.parent)

    @property
    def client(self) -> MlflowClient:
        """MLflow, reached on first use: importing it alone takes seconds."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _connect(self) -> MlflowClient:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        from mlflow import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)
        remote = os.environ.get("MLFLOW_TRACKING_URI")
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "respeak")
        # Two first-time creations of the schema side by side leave a broken database.
        with locked(self.state / "create.lock"):
            client = MlflowClient(remote or f"sqlite:///{self.root / 'mlflow.db'}")
            experiment = client.get_experiment_by_name(name)
            folder = None if remote else (self.root / "mlartifacts").as_uri()
            if experiment is None:
                made = client.create_experiment(name, folder, {EXPERIMENT_KIND: "custom_model_development"})
            self.experiment = experiment.experiment_id if experiment else made
        return client

    def _replay(self, journal: Path) -> None:
        """Upload a journal's new lines; end its run and remove it when its stage has ended."""
        note_path = journal.with_suffix(".state")
        note = _read_json(note_path)
        events, offset = _read_events(journal, note.get("offset", 0))
        header = note.get("header") or next(iter(events), None)
        if header is None:
            return
        if "run_id" not in note:
            note |= {"header": header, "run_id": self._create_run(header)}
            write_json(note_path, note)
        self._upload(note["run_id"], journal.with_suffix(".files"), events, header)
        note["offset"] = offset
        write_json(note_path, note)
        status = next((e["status"] for e in events if e["event"] == "close"), None)
        if status is None and not _lives(journal, header):
            status = "KILLED"
        if status is None:
            return
        ended = events[-1]["time"] if events else int(time.time() * 1000)
        self.client.set_terminated(note["run_id"], status, ended)
        self._remember(header, status)
        journal.unlink()
        note_path.unlink()
        shutil.rmtree(journal.with_suffix(".files"), ignore_errors=True)

    def _create_run(self, header: dict[str, Any]) -> str:
        client, session, parent = self.client, header.get("session"), header.get("parent")
        if session and not parent and not header.get("is_parent"):
            parent = self._parent(header, session)
        if within := header.get("within"):
            parent = _read_json(self.session_path(within)).get("run_id")
        tags = dict(header["tags"]) | ({"mlflow.parentRunId": parent} if parent else {})
        run = client.create_run(self.experiment, header["time"], tags, header["name"])
        if session and header.get("is_parent"):
            note = {"run_id": run.info.run_id, "experiment_id": self.experiment, "own_run": True}
            write_json(self.session_path(session), note | {"experiment": tags.get("DVC_EXP_NAME", "")})
        return str(run.info.run_id)

    def _parent(self, header: dict[str, Any], session: str) -> str:
        """Return the run of a child's session; made now for a plain ``dvc repro``, which has none of its own."""
        path = self.session_path(session)
        note = _read_json(path)
        if "run_id" not in note:
            tags = {k: v for k, v in header["tags"].items() if k not in OF_STAGES}
            name = tags.get("DVC_EXP_NAME", "")
            run = self.client.create_run(self.experiment, header["time"], tags, name or "dvc repro")
            note = {"run_id": run.info.run_id, "experiment_id": self.experiment, "tree": tags["tree"]}
            note["experiment"] = name
            params = Path(tags["tree"]) / "params.yaml"
            if params.is_file():
                self.client.log_artifact(run.info.run_id, str(params))
            write_json(path, note)
        return str(note["run_id"])

    def _remember(self, header: dict[str, Any], status: str) -> None:
        path = self.session_path(header.get("session") or "none")
        note = _read_json(path)
        if "run_id" not in note:
            return
        if header.get("is_parent"):
            note["closed"] = True
        elif status != "FINISHED":
            note["worst"] = status
        write_json(path, note)

    def _upload(self, run: str, files: Path, events: list[dict[str, Any]], header: dict[str, Any]) -> None:
        from mlflow.entities import Metric, Param

        for event in events:
            if event["event"] == "inputs":
                self._upload_inputs(run, event)
        judged = self._judged(run) if header["tags"].get("stage") == "evaluate" else None
        metrics = [
            Metric(name, value, event["time"], event["step"] or 0, model_id=None if name[:7] == "system/" else judged)
            for event in events
            if event["event"] == "metrics"
            for name, value in event["values"].items()
        ]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run, metrics=metrics[start : start + BATCH])
        for event in events:
            if event["event"] == "params":
                params = [Param(name, value[:6000]) for name, value in event["values"].items()]
                for start in range(0, len(params), 100):
                    self.client.log_batch(run, params=params[start : start + 100])
            elif event["event"] == "artifact":
                self._upload_artifact(run, files / event["name"], files)
            elif event["event"] == "model":
                tags = {key: header["tags"][key] for key in MODEL_TAGS if key in header["tags"]}
                log_bundle(self.client, self.experiment, run, files / MODELS / event["name"], tags)

    def _upload_inputs(self, run: str, event: dict[str, Any]) -> None:
        """Upload datasets with DVC's digests; as models those bundles that MLflow knows, perhaps not all that ran."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput

        datasets = []
        for found in event["datasets"]:
            source = json.dumps({"uri": found["path"]})
            profile = json.dumps({key: found[key] for key in ("size", "files", "made_by")})
            dataset = Dataset(found["path"], found["digest"], "local", source, profile=profile)
            datasets.append(DatasetInput(dataset, [InputTag("mlflow.data.context", found["made_by"] or "recordings")]))
        known = [find_models(self.client, self.experiment, digest)[:1] for digest in event["models"]]
        models = [LoggedModelInput(model.model_id) for found in known for model in found]
        if datasets or models:
            self.client.log_inputs(run, datasets, models)

    def _judged(self, run: str) -> str | None:
        """Return the logged model that a run judges, if it is one: its metrics are the model's too."""
        inputs = self.client.get_run(run).inputs
        models = [model.model_id for model in inputs.model_inputs] if inputs else []
        return models[0] if len(models) == 1 else None

    def _upload_artifact(self, run: str, path: Path, files: Path) -> None:
        if path.name == LOCK:
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            self.client.set_tag(run, "dvc_lock", digest)
        folder = path.parent.relative_to(files).as_posix()
        if path.is_dir():
            self.client.log_artifacts(run, str(path), path.relative_to(files).as_posix())
        elif path.is_file():
            self.client.log_artifact(run, str(path), None if folder == "." else folder)


def experiment_lock(root: Path, name: str) -> tuple[str, str] | None:
    """Return the commit that DVC saved an experiment as, and its ``dvc.lock``; None where there is no experiment."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout if done.returncode == 0 else ""

    if not name:
        return None
    newest = ["--count=1", "--sort=-creatordate", "--format=%(objectname)"]
    revision = git("for-each-ref", *newest, f"refs/exps/*/*/{name}").strip()
    text = git("show", f"{revision}:{LOCK}") if revision else ""
    return (revision, text) if text else None


def follow(root: Path, session: str) -> None:
    """Collect until ``session``'s process is gone, or its own run is closed; one collector follows a session."""
    collector = Collector(root)
    with locked(collector.state / "followers" / session, wait=False) as mine:
        if not mine:
            return
        pause = POLL_SECONDS
        while True:
            ending = _ended(collector, session)
            pause = POLL_SECONDS if _try_pass(collector) else min(60.0, pause * 2)
            if ending:
                break
            time.sleep(pause)
        _try_pass(collector, settle=True)
    (collector.state / "followers" / session).unlink(missing_ok=True)


def _ended(collector: Collector, session: str) -> bool:
    """Return whether a session has ended; asked before a pass, so that one whole pass comes after the end."""
    if not is_alive(session):
        return True
    note = _read_json(collector.session_path(session))
    return bool(note.get("own_run")) and not any(_of_session(collector.runs, session))


def _of_session(runs: Path, session: str) -> Iterator[Path]:
    for journal in runs.glob("*.jsonl"):
        events, _ = _read_events(journal, 0)
        if events and events[0].get("session") == session:
            yield journal


def _try_pass(collector: Collector, settle: bool = False) -> bool:
    try:
        collector.pass_over()
        if settle:
            collector.settle()
    except Exception as error:  # noqa: BLE001  MLflow raises of every kind, and a collector outlives all of them
        print(f"{time.strftime('%F %T')} MLflow: {' '.join(str(error).split())[:500]}", file=sys.stderr, flush=True)
        return False
    return True


def _lives(journal: Path, header: dict[str, Any]) -> bool:
    if header.get("host") == socket.gethostname() and "process" in header:
        return is_alive(header["process"])
    return time.time() - journal.stat().st_mtime < ABANDONED_SECONDS


def _read_events(journal: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Read the whole lines after ``offset``; return their events and the offset after them."""
    with journal.open("rb") as handle:
        handle.seek(offset)
        text, _, _ = handle.read().rpartition(b"\n")
    events = [event for line in text.split(b"\n") if (event := _parse(line))]
    return events, offset + (len(text) + 1 if text else 0)


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return a line's event; None for one that a full disk cut short."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return None


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def main() -> int:
    """Follow a session, or upload once what lies there."""
    parser = argparse.ArgumentParser(prog="python -m stages.tracking.collector", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=main_root(), help="the project's root")
    parser.add_argument("--follow", metavar="SESSION", help="stay until this session ends")
    arguments = parser.parse_args()
    if arguments.follow:
        os.nice(10)
        follow(arguments.root, arguments.follow)
        return 0
    return 0 if _try_pass(Collector(arguments.root), settle=True) else 1


if __name__ == "__main__":
    sys.exit(main())
